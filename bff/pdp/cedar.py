"""Embedded policy decision point: the Cedar language (https://docs.cedarpolicy.com) by its own engine.

The subject becomes the principal: an entity of the subject's type with its properties as attributes and `role::"..."`
for each of its roles as parents. The action is `Action::"..."`, the resource an entity of its type with its
properties, the context a record. No entity has any other relation. The attribute `id` of each entity is its id, even if
a property has that name, since Cedar policies cannot compare ids otherwise.

`@id` names a policy in logs and metrics. The user reads `@reason` when a forbid decides.

Nothing of a question is ever parsed as Cedar: values go in as data. A value that Cedar cannot express (null, fractions,
keys with another meaning in its JSON) leaves the question undecided, since a decision would be about another question.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cedarpy

from bff.pdp.model import NOTHING, Decision, Evaluation, NoDecision, Semantic
from bff.settings import PolicyFiles

log = logging.getLogger(__name__)

ROLE = "role"
ACTION = "Action"
NOT_PERMITTED = "No policy permits this."
LONGEST_REASON = 500

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_ESCAPE = "__"  # prefix of keys with a meaning in Cedar's JSON, such as __entity
_LONG = 2**63
_DEEPEST = 32


@dataclass(frozen=True)
class Policies:
    """effects, reasons: by Cedar's id of a policy, which is its position. names: every @id."""

    handle: cedarpy.PolicySet
    effects: dict[str, str]
    reasons: dict[str, str]
    names: tuple[str, ...]


class Cedar:
    """A PolicyDecisionPoint."""

    def __init__(self, policies: PolicyFiles, roles_property: str) -> None:
        """Parses now. Raises ValueError for mistakes that `problems` lists."""
        self._policies = _parsed("\n".join(text for _, text in policies.texts))
        self._roles_property = roles_property

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        """Raises NoDecision (type, properties, policy)."""
        request, entities = self._translated(question)
        result = cedarpy.is_authorized(request, self._policies.handle, entities)
        if result.decision is cedarpy.Decision.NoDecision:
            log.warning("cedar_no_decision")  # Cedar's own words quote the question
            raise NoDecision("properties")
        failed = _failed(result.diagnostics.errors)
        if result.allowed:
            self._refuse_doubt(failed)
            return Decision(True)
        return Decision(False, self._told(result.diagnostics.reasons))

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        """Raises NoDecision."""
        decisions = []
        for question in questions:
            decisions.append(self.decide(question, correlation_id))
            if semantic.ends(decisions[-1]):
                break
        return decisions

    def check(self) -> None:
        return

    def _refuse_doubt(self, failed: Sequence[str | None]) -> None:
        """Raises Undecided when Cedar skipped a failing forbid, since that policy might have denied the question."""
        doubtful = [name for name in failed if name is None or self._policies.effects.get(name) != "permit"]
        if doubtful:
            log.warning("cedar_policy_failed", extra={"policy": str(doubtful[0])})
            raise NoDecision("policy")

    def _told(self, deciding: Sequence[str]) -> str:
        if not deciding:
            return NOT_PERMITTED
        return next((self._policies.reasons[name] for name in sorted(deciding) if name in self._policies.reasons), "")

    def _translated(self, question: Evaluation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """(request, entities) for cedarpy."""
        subject = _uid(question.subject_type, question.subject_id)
        resource = _uid(question.resource_type, question.resource_id)
        attributes = _record(question.subject_properties)
        principal = _entity(subject, attributes, self._parents(attributes))
        request = {
            "principal": subject,
            "action": _uid(ACTION, question.action),
            "resource": resource,
            "context": _record(question.context),
        }
        about = _record(question.resource_properties)
        if question.action_properties != NOTHING:
            raise NoDecision("properties")  # Cedar's actions have none, and a remote policy may need them
        if resource == subject:
            if about:  # one entity has one set of attributes, and a request may not add to the subject's
                raise NoDecision("properties")
            return request, [principal]
        return request, [principal, _entity(resource, about, [])]

    def _parents(self, attributes: dict[str, Any]) -> list[dict[str, str]]:
        roles = attributes.get(self._roles_property, [])
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise NoDecision("properties")
        return [{"type": ROLE, "id": role} for role in dict.fromkeys(roles)]


def problems(files: PolicyFiles, *, needed: bool) -> list[str]:
    """A sentence for each mistake in the policies. needed: whether a route or a profile asks them."""
    if files.fault:
        return [f"{files.folder}: cannot be read ({files.fault})."]
    found: list[str] = []
    named: dict[str, Path] = {}
    number = 0
    for path, text in files.texts:
        try:
            policies = _parsed(text)
        except ValueError as err:
            found.append(f"{path}: is not Cedar: {str(err)[:200]}.")
            continue
        number += len(policies.effects)
        found += _mistakes(path, policies, named)
    if needed and not number and not found:
        found.append(f"{files.folder}: holds no policy in *.cedar, so whatever asks the policy would be denied.")
    return found


def _mistakes(path: Path, policies: Policies, named: dict[str, Path]) -> Iterator[str]:
    """named: the file of every @id so far; this file's are added."""
    if policies.handle.templates():
        yield f"{path}: holds a template (?principal or ?resource), which nothing here fills in."
    for name in policies.names:
        if name in named:
            yield f"{path}: @id({json.dumps(name)}) names another policy already, in {named[name].name}."
        named.setdefault(name, path)


def _parsed(text: str) -> Policies:
    """Raises ValueError."""
    handle = cedarpy.PolicySet.from_str(text)
    policies = handle.to_pst().static_policies
    notes = {name: policy.annotations for name, policy in policies.items()}
    return Policies(
        handle,
        {name: policy.effect for name, policy in policies.items()},
        {name: _cleaned(note["reason"]) for name, note in notes.items() if "reason" in note},
        tuple(note["id"] for note in notes.values() if "id" in note),
    )


def _cleaned(reason: str) -> str:
    return " ".join(reason.split())[:LONGEST_REASON]


_FAILED = re.compile(r"error while evaluating policy `([^`]+)`")


def _failed(errors: Sequence[str]) -> list[str | None]:
    """The ids of the policies that Cedar skipped; None where its message names no policy."""
    found = [_FAILED.match(error) for error in errors]
    return [match[1] if match else None for match in found]


def _uid(entity_type: str, entity_id: str) -> dict[str, str]:
    if not _IDENTIFIER.fullmatch(entity_type):
        raise NoDecision("type")
    try:
        entity_id.encode()
    except UnicodeEncodeError as err:  # half a surrogate pair, which JSON can express
        raise NoDecision("properties") from err
    return {"type": entity_type, "id": entity_id}


def _entity(uid: dict[str, str], attributes: dict[str, Any], parents: list[dict[str, str]]) -> dict[str, Any]:
    return {"uid": uid, "attrs": {**attributes, "id": uid["id"]}, "parents": parents}


def _record(text: str) -> dict[str, Any]:
    if text == NOTHING:
        return {}
    values: dict[str, Any] = json.loads(text)
    _check(values, _DEEPEST)
    return values


def _check(value: object, deeper: int) -> None:
    """Raises NoDecision for a value that Cedar would not read as plain data."""
    if deeper == 0 or value is None or isinstance(value, float):
        raise NoDecision("properties")
    if isinstance(value, int) and not -_LONG <= value < _LONG:
        raise NoDecision("properties")
    if isinstance(value, dict):
        if any(key.startswith(_ESCAPE) for key in value):
            raise NoDecision("properties")
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check(each, deeper - 1)
