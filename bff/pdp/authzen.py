"""Client of a remote policy decision point (OpenID Authorization API, AuthZEN 1.0).

The PDP's metadata name its endpoints (section 9); a PDP without metadata has them at the standard paths. Only the
standard's `true` or `false` is a decision. An evaluation is idempotent, so the client retries it like any other call,
within one timeout for all attempts.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from bff.errors import UpstreamError
from bff.http import HttpClient, Response
from bff.pdp.model import Cause, Decision, Evaluation, NoDecision, Semantic

EVALUATION, EVALUATIONS = "/access/v1/evaluation", "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"
LONGEST_REASON = 500
_ABOUT_THE_QUESTION = (400, 413, 422)


class Endpoints(NamedTuple):
    """evaluations: None where a PDP answers one question at a time."""

    evaluation: str
    evaluations: str | None


class Credential(Protocol):
    """The BFF's credential for a PDP."""

    def headers(self, url: str, seconds: float) -> Mapping[str, str]:
        """The header fields for one POST, obtained within so many seconds. Raises NoDecision (token)."""

    def others(self, url: str, refused: Response, seconds: float) -> Mapping[str, str] | None:
        """The header fields for a retry after a 401; None when a retry is useless. Raises NoDecision (token)."""


class Authzen:
    """A PolicyDecisionPoint."""

    def __init__(
        self,
        base_url: str,
        timeout: float,
        http: HttpClient,
        credential: Credential | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """base_url: the PDP's identifier, without a trailing slash. timeout: seconds for a whole decision. http: a
        client with a timeout for a whole call."""
        self._base = base_url
        self._timeout = timeout
        self._http = http
        self._credential = credential
        self._clock = clock
        self._endpoints: Endpoints | None = None

    def decide(self, question: Evaluation, correlation_id: str = "") -> Decision:
        """Raises NoDecision: timeout, connection, circuit_open, busy, bad_response, metadata, token or refused."""
        deadline = self._clock() + self._timeout
        return self._decide(question, correlation_id, deadline)

    def decide_all(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str = ""
    ) -> list[Decision]:
        """Raises NoDecision."""
        deadline = self._clock() + self._timeout
        url = self._known(deadline).evaluations
        if url is None or _contradictory(questions):
            return self._one_by_one(questions, semantic, correlation_id, deadline)
        request = _together([question.document() for question in questions], semantic)
        answers = self._asked(url, "evaluations", request, correlation_id, deadline).get("evaluations")
        if not isinstance(answers, list):
            raise NoDecision("bad_response")
        decisions = [_decision(answer) for answer in answers]
        if len(decisions) != _length(decisions, len(questions), semantic):
            raise NoDecision("bad_response")
        return decisions

    def check(self) -> None:
        """Fetches the metadata again. Raises NoDecision."""
        self._endpoints = self._fetched(self._clock() + self._timeout)

    def _decide(self, question: Evaluation, correlation_id: str, deadline: float) -> Decision:
        url = self._known(deadline).evaluation
        return _decision(self._asked(url, "evaluation", question.document(), correlation_id, deadline))

    def _one_by_one(
        self, questions: Sequence[Evaluation], semantic: Semantic, correlation_id: str, deadline: float
    ) -> list[Decision]:
        decisions = []
        for question in questions:
            decisions.append(self._decide(question, correlation_id, deadline))
            if semantic.ends(decisions[-1]):
                break
        return decisions

    def _asked(
        self, url: str, target: str, document: Mapping[str, Any], correlation_id: str, deadline: float
    ) -> dict[str, Any]:
        """The answer, which is a JSON object with status 200."""
        answer = self._posted(url, target, document, correlation_id, deadline)
        if answer.status == 404:
            self._endpoints = None  # the endpoint moved, so the next question fetches the metadata
        if answer.status in (401, 403):
            raise NoDecision("refused")
        if answer.status != 200:
            raise NoDecision("bad_response", _cause(answer.status))
        try:
            return answer.json()
        except UpstreamError as err:
            raise NoDecision("bad_response") from err

    def _posted(
        self, url: str, target: str, document: Mapping[str, Any], correlation_id: str, deadline: float
    ) -> Response:
        identified = {"X-Request-ID": correlation_id} if correlation_id else {}

        def post(credential: Mapping[str, str]) -> Response:
            return self._http.post_json(
                url,
                document,
                target=target,
                headers={**identified, **credential},
                idempotent=True,
                seconds=self._left(deadline),
                foreign=True,
            )

        shown = self._credential.headers(url, self._left(deadline)) if self._credential else {}
        try:
            answer = post(shown)
            if answer.status == 401 and self._credential:
                another = self._credential.others(url, answer, self._left(deadline))
                answer = answer if another is None else post(another)
        except UpstreamError as err:
            raise NoDecision(err.outcome) from err
        return answer

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise NoDecision("timeout")
        return left

    def _known(self, deadline: float) -> Endpoints:
        """The cached endpoints; `check` refreshes them periodically."""
        if (known := self._endpoints) is None:
            known = self._endpoints = self._fetched(deadline)
        return known

    def _fetched(self, deadline: float) -> Endpoints:
        """Section 9.2: the well-known path goes between the PDP's host and its own path."""
        parts = urlsplit(self._base)
        url = f"{parts.scheme}://{parts.netloc}{METADATA}{parts.path}"
        try:
            answer = self._http.get(url, target="metadata", seconds=self._left(deadline))
            if (cause := _cause(answer.status)) is Cause.OUTAGE:
                raise NoDecision("metadata", cause)
            if 400 <= answer.status < 500:
                return Endpoints(self._base + EVALUATION, self._base + EVALUATIONS)
            metadata = answer.json() if answer.status == 200 else {}
        except UpstreamError as err:
            raise NoDecision(err.outcome) from err
        if str(metadata.get("policy_decision_point")).rstrip("/") != self._base:
            raise NoDecision("metadata")  # section 9.2.3: it belongs to another PDP
        several = metadata.get("access_evaluations_endpoint")
        return Endpoints(
            self._endpoint(metadata.get("access_evaluation_endpoint")),
            None if several is None else self._endpoint(several),
        )

    def _endpoint(self, url: object) -> str:
        """Raises NoDecision for a value that is no URL, or that has no TLS where the base URL has."""
        schemes = ("https://",) if self._base.startswith("https:") else ("https://", "http://")
        if not isinstance(url, str) or not url.startswith(schemes):
            raise NoDecision("metadata")
        return url


def _together(documents: list[dict[str, Any]], semantic: Semantic) -> dict[str, Any]:
    """Section 7.1: members that all questions share stand once, beside the questions."""
    shared: dict[str, Any] = {
        name: documents[0][name]
        for name in ("subject", "context")
        if name in documents[0] and all(document.get(name) == documents[0][name] for document in documents)
    }
    rest = [{name: part for name, part in document.items() if name not in shared} for document in documents]
    return {**shared, "evaluations": rest, "options": {"evaluations_semantic": semantic.value}}


def _contradictory(questions: Sequence[Evaluation]) -> bool:
    """Whether one subject or resource is described in two ways. A PDP may take its properties from either question for
    both (Cerbos 0.55 does, for every type of subject), and so allow a question that it would deny alone."""
    described: dict[tuple[str, ...], tuple[str, ...]] = {}
    for each in questions:
        subject = each.subject_type, each.subject_properties
        if described.setdefault((each.subject_id,), subject) != subject:
            return True
        resource = each.resource_type, each.resource_id
        if described.setdefault(resource, (each.resource_properties,)) != (each.resource_properties,):
            return True
    return False


def _length(decisions: Sequence[Decision], asked: int, semantic: Semantic) -> int:
    """The expected number of decisions."""
    ended = next((number for number, decision in enumerate(decisions, 1) if semantic.ends(decision)), asked)
    return min(ended, asked)


def _cause(status: int) -> Cause:
    """The cause behind a status other than 200. A PDP that answers 400 or 413 has read the question."""
    if status >= 500 or status == 429:
        return Cause.OUTAGE
    return Cause.QUESTION if status in _ABOUT_THE_QUESTION else Cause.MISTAKE


def _decision(answer: object) -> Decision:
    """Section 5.5. Raises NoDecision."""
    if not isinstance(answer, dict) or not isinstance(answer.get("decision"), bool):
        raise NoDecision("bad_response")
    context = answer.get("context")
    return Decision(answer["decision"], _reason(context) if isinstance(context, dict) else "")


def _reason(context: Mapping[str, Any]) -> str:
    """The reason for the user, by the names of the standard's examples. It is another server's text, so it is cut to
    one line."""
    for name in ("reason_user", "reason"):
        told = context.get(name)
        if isinstance(told, Mapping):
            told = told.get("en", next(iter(told.values()), None))
        if isinstance(told, str) and told:
            return " ".join("".join(each if each.isprintable() else " " for each in told).split())[:LONGEST_REASON]
    return ""
