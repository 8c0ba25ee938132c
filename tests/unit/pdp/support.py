"""A policy decision point that answers as told, and a channel between workers that is there or is not."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from bff.errors import StoreUnavailable
from bff.pdp.model import Decision, Evaluation, NoDecision, Semantic, properties

ALLOW, DENY = Decision(True), Decision(False, "Not you.")


def question(what: str = "7", who: str = "alice", resource: str = "orders", **more: Any) -> Evaluation:
    return Evaluation("user", who, properties({"roles": ["clerk"]}), "read", resource, what, **more)


class Told:
    """A PolicyDecisionPoint: DENY about the id `secret`, ALLOW about others, NoDecision while failing. It counts what
    it is asked; `entered` and `go` make it wait."""

    def __init__(self) -> None:
        self.asked: list[Evaluation] = []
        self.batches: list[tuple[int, Semantic]] = []
        self.correlation_ids: list[str] = []
        self.failing = ""
        self.changed: set[str] = set()
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        self.asked.append(question)
        self.correlation_ids.append(correlation_id)
        decision = DENY if question.resource_id in {"secret", *self.changed} else ALLOW
        self.entered.release()
        assert self.go.wait(5)
        if self.failing:
            raise NoDecision(self.failing)
        return decision

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        self.batches.append((len(questions), semantic))
        decisions = []
        for each in questions:
            decisions.append(self.decide(each, correlation_id))
            if semantic.ends(decisions[-1]):
                break
        return decisions

    def check(self) -> None:
        return


class Channel:
    """As much of a KeyValue as workers need to tell each other something."""

    def __init__(self) -> None:
        self._listeners: list[tuple[Callable[[str], None], Callable[[bool], None]]] = []
        self.connected = True

    def publish(self, channel: str, message: str) -> None:
        if not self.connected:
            raise StoreUnavailable
        for heard, _ in list(self._listeners):
            heard(message)

    def subscribe(self, channel: str, on_message: Callable[[str], None], on_state: Callable[[bool], None]) -> "Channel":
        self._listeners.append((on_message, on_state))
        on_state(self.connected)
        return self

    def cut(self) -> None:
        self._say(False)

    def mend(self) -> None:
        self._say(True)

    def _say(self, connected: bool) -> None:
        self.connected = connected
        for _, state in self._listeners:
            state(connected)

    def close(self) -> None:
        self._listeners.clear()
