"""The information model of AuthZEN 1.0 (section 5): a question and its decision, and who answers.

A question is a tuple of texts, so that it is its own key in a cache. Properties are texts, too: JSON objects with their
keys in order, which most questions share.
"""

import json
from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Protocol

NOTHING = "{}"
"""No properties."""


class Evaluation(NamedTuple):
    """Properties and context are JSON objects as `properties` writes them."""

    subject_type: str
    subject_id: str
    subject_properties: str
    action: str
    resource_type: str
    resource_id: str
    resource_properties: str = NOTHING
    context: str = NOTHING
    action_properties: str = NOTHING

    def __repr__(self) -> str:
        return f"Question({self.action} {self.resource_type})"  # neither the person nor the thing

    def document(self) -> dict[str, Any]:
        """As AuthZEN sends it, properties only where there are any."""
        parts: dict[str, dict[str, Any]] = {
            "subject": {"type": self.subject_type, "id": self.subject_id},
            "action": {"name": self.action},
            "resource": {"type": self.resource_type, "id": self.resource_id},
        }
        written = self.subject_properties, self.action_properties, self.resource_properties
        for part, text in zip(parts.values(), written, strict=True):
            if text != NOTHING:
                part["properties"] = json.loads(text)
        if self.context != NOTHING:
            parts["context"] = json.loads(self.context)
        return parts


def properties(values: Mapping[str, Any]) -> str:
    """Raises ValueError for what JSON cannot say, such as NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False) if values else NOTHING


class Subject(NamedTuple):
    """Who asks. properties: as `properties` writes them."""

    type: str
    id: str
    properties: str = NOTHING

    def __repr__(self) -> str:
        return "Subject(...)"


class ResourceAction(NamedTuple):
    """What a request wants to do, and to what. properties: of the resource, as `properties` writes them."""

    resource: str
    action: str
    id: str
    properties: str = NOTHING

    def __repr__(self) -> str:
        return f"Asked({self.action} {self.resource})"


class Decision(NamedTuple):
    """reason: what may be told to the person who asked, in the policy's own words; empty when it has none."""

    allowed: bool
    reason: str = ""


class Semantic(StrEnum):
    """How far a list of questions is answered (AuthZEN 1.0 section 7.1.2.1)."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    def ends(self, decision: Decision) -> bool:
        """Whether nothing behind this decision is answered."""
        if self is Semantic.EXECUTE_ALL:
            return False
        return decision.allowed == (self is Semantic.PERMIT_ON_FIRST_PERMIT)


class Cause(Enum):
    """What keeps a decision from being had, which says what may be done without one.

    OUTAGE: the PDP does not answer, whatever it is asked; nobody can bring that about by what they ask. QUESTION: there
    is no answer to what was asked. MISTAKE: of the policies, the settings or the PDP, which time does not mend."""

    OUTAGE = "outage"
    QUESTION = "question"
    MISTAKE = "mistake"


_CAUSES = {
    "timeout": Cause.OUTAGE,
    "connection": Cause.OUTAGE,
    "circuit_open": Cause.OUTAGE,
    "properties": Cause.QUESTION,
}


class NoDecision(Exception):
    """No decision can be had. reason: one word, such as timeout, connection, circuit_open, bad_response, policy.

    cause: as the reason has it. What is not known to be an outage is none, since a request could have caused it."""

    def __init__(self, reason: str, cause: Cause | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause or _CAUSES.get(reason, Cause.MISTAKE)


class PolicyDecisionPoint(Protocol):
    """correlation_id goes along for the PDP's own log; no decision may depend on it."""

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        """Raises NoDecision."""

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        """One decision per question in order, as far as the semantic goes. Raises NoDecision."""

    def check(self) -> None:
        """Raises NoDecision unless it would answer."""
