"""The information model of AuthZEN 1.0 (section 5): question, decision, and the protocol of a policy decision point.

A question is a tuple of texts, so it is its own cache key. Properties are texts, too: JSON objects with sorted keys,
and most questions share them.
"""

import json
from collections.abc import Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, NamedTuple, Protocol

NOTHING = "{}"
"""The properties of a question without any."""


class Evaluation(NamedTuple):
    """Properties and context are JSON objects, serialised by `properties`."""

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
        return f"Question({self.action} {self.resource_type})"  # without subject and id, which are personal

    def document(self) -> dict[str, Any]:
        """The JSON document of AuthZEN, without empty properties."""
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
    """Serialises values with sorted keys. Raises ValueError for a value that JSON lacks, such as NaN."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False) if values else NOTHING


class Subject(NamedTuple):
    """The user or client of a question. properties: serialised by `properties`."""

    type: str
    id: str
    properties: str = NOTHING

    def __repr__(self) -> str:
        return "Subject(...)"


class ResourceAction(NamedTuple):
    """Action and resource of a request. properties: of the resource, serialised by `properties`."""

    resource: str
    action: str
    id: str
    properties: str = NOTHING

    def __repr__(self) -> str:
        return f"Asked({self.action} {self.resource})"


class Decision(NamedTuple):
    """reason: the policy's own text for the user; empty when it has none."""

    allowed: bool
    reason: str = ""


class Semantic(StrEnum):
    """The decision that ends a list of questions (AuthZEN 1.0 section 7.1.2.1)."""

    EXECUTE_ALL = "execute_all"
    DENY_ON_FIRST_DENY = "deny_on_first_deny"
    PERMIT_ON_FIRST_PERMIT = "permit_on_first_permit"

    def ends(self, decision: Decision) -> bool:
        """Whether this decision is the last of the list."""
        if self is Semantic.EXECUTE_ALL:
            return False
        return decision.allowed == (self is Semantic.PERMIT_ON_FIRST_PERMIT)


class Cause(Enum):
    """The cause of a missing decision, which decides whether a request may pass without one.

    OUTAGE: the PDP answers no question at all; no client can cause that by its request. QUESTION: the PDP cannot
    answer this question. MISTAKE: of the policies, the settings or the PDP; a retry does not help."""

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
    """There is no decision. reason: one word, such as timeout, connection, circuit_open, bad_response, policy.

    cause: derived from the reason. An unknown reason is no outage, since a request could have caused it."""

    def __init__(self, reason: str, cause: Cause | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause or _CAUSES.get(reason, Cause.MISTAKE)


class PolicyDecisionPoint(Protocol):
    """correlation_id is for the PDP's own log; no decision may depend on it."""

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        """Raises NoDecision."""

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        """One decision per question in order, until the semantic ends the list. Raises NoDecision."""

    def check(self) -> None:
        """Raises NoDecision unless the PDP is able to answer."""
