"""Policy decision point facade (AuthZEN 1.0) for browser applications and services.

A browser application asks about its user's permissions. A service asks about its caller or, with a token of its own,
about any subject. The BFF itself acts on the same answers: the same policy, cache, metrics and audit. The decision
point behind the BFF calls `/access/v1/invalidate` when its answers may have changed.
"""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validate

from bff.crypto import equal
from bff.errors import BadRequest, InvalidToken, NoSuchRoute, OtherSubject
from bff.pdp import enforcement
from bff.pdp.authzen import EVALUATION, EVALUATIONS, METADATA
from bff.pdp.enforcement import Request
from bff.pdp.model import Cause, Decision, Evaluation, NoDecision, Semantic, Subject, properties
from bff.web import context, limits
from bff.web.bearer import bearer_token
from bff.web.context import services
from bff.web.policy import policy
from bff.web.principal import Principal, authenticate, presented

blueprint = Blueprint("pdp", __name__)

LONGEST = 64 * 1024
MOST = 50
_LONGEST_REQUEST_ID = 128
_STATUS = {Cause.OUTAGE: 503, Cause.QUESTION: 422, Cause.MISTAKE: 500}
_text = validate.Length(min=1, max=1024)


class _KnownSchema(Schema):
    class Meta:
        unknown = EXCLUDE  # later versions of the standard may add members


class _EntitySchema(_KnownSchema):
    type = fields.String(validate=_text)
    id = fields.String(validate=_text)
    properties = fields.Dict(keys=fields.String(), load_default=dict)


class _ResourceSchema(_EntitySchema):
    type = fields.String(required=True, validate=_text)
    id = fields.String(required=True, validate=_text)


class _ActionSchema(_KnownSchema):
    name = fields.String(required=True, validate=_text)
    properties = fields.Dict(keys=fields.String(), load_default=dict)


class EvaluationSchema(_KnownSchema):
    """One question, or the defaults beside `evaluations`."""

    subject = fields.Nested(_EntitySchema)
    action = fields.Nested(_ActionSchema)
    resource = fields.Nested(_ResourceSchema)
    context = fields.Dict(keys=fields.String())


class _OptionsSchema(_KnownSchema):
    evaluations_semantic = fields.Enum(Semantic, by_value=True, load_default=Semantic.EXECUTE_ALL)


class EvaluationsSchema(EvaluationSchema):
    evaluations = fields.List(fields.Nested(EvaluationSchema), load_default=list)
    options = fields.Nested(_OptionsSchema, load_default=lambda: {"evaluations_semantic": Semantic.EXECUTE_ALL})

    @pre_load
    def _not_too_many(self, sent: Any, **_: Any) -> Any:
        """Counts the questions before marshmallow validates each, which costs much more."""
        several = sent.get("evaluations") if isinstance(sent, dict) else None
        if isinstance(several, list) and len(several) > MOST:
            raise ValidationError(f"There may be {MOST}.", "evaluations")
        return sent


class _ReferenceSchema(Schema):
    class Meta:
        unknown = RAISE

    type = fields.String(required=True, validate=_text)
    id = fields.String(required=True, validate=_text)


class ChangeSchema(Schema):
    class Meta:
        unknown = RAISE

    subject = fields.Nested(_ReferenceSchema)
    resource = fields.Nested(_ReferenceSchema)


@blueprint.post(EVALUATION)
@policy(session=False, csrf=False)
def evaluation() -> Response:
    caller, wanted = _admitted(), _body(EvaluationSchema())
    return _answered(jsonify(_said(_decided(caller, [wanted], Semantic.EXECUTE_ALL)[0])))


@blueprint.post(EVALUATIONS)
@policy(session=False, csrf=False)
def evaluations() -> Response:
    """AuthZEN 1.0 section 7.1: members beside `evaluations` are defaults for each; alone they are the only question."""
    caller, wanted = _admitted(), _body(EvaluationsSchema())
    several, semantic = wanted.pop("evaluations"), wanted.pop("options")["evaluations_semantic"]
    if caller.session is not None and len(several) > 1:
        limits.check("evaluation", caller.session, hits=len(several) - 1)  # _admitted has counted the first one
    decided = _decided(caller, [{**wanted, **each} for each in several or [{}]], semantic)
    if not several:
        return _answered(jsonify(_said(decided[0])))
    return _answered(jsonify(evaluations=[_said(decision) for decision in decided]))


@blueprint.get(METADATA)
@policy(session=False, csrf=False)
def metadata() -> Response:
    base = services().settings.base_url
    return jsonify(
        policy_decision_point=base,
        access_evaluation_endpoint=base + EVALUATION,
        access_evaluations_endpoint=base + EVALUATIONS,
    )


@blueprint.post("/access/v1/invalidate")
@policy(session=False, csrf=False)
def invalidate() -> tuple[str, int]:
    """Makes every worker forget its decisions about a subject, about a resource, or all.

    Answers 404 unless the operator configured a token for it.
    """
    token = services().settings.pdp.invalidation_token
    if token is None:
        raise NoSuchRoute
    if not equal(bearer_token(request.headers.get("Authorization")), token):
        raise InvalidToken
    changed = _body(ChangeSchema()) if request.get_data() else {}
    services().decisions.change(**{what: (each["type"], each["id"]) for what, each in changed.items()})
    return "", 204


def _admitted() -> Principal:
    """Authenticates the caller. Only sessions are rate-limited; for services the operators agree on the load."""
    caller = authenticate(presented())
    if caller.session is not None:
        limits.check("evaluation", caller.session)
    return caller


def _body(schema: Schema) -> dict[str, Any]:
    request.max_content_length = LONGEST
    try:
        sent: Any = request.get_json(silent=True)
        content: dict[str, Any] = schema.load(sent)
    except ValidationError as err:
        raise BadRequest(f"The body is not as AuthZEN has it: {_where(err.messages_dict)}.") from err
    except RecursionError as err:
        raise BadRequest("The body is not as AuthZEN has it.") from err
    return content


def _where(messages: Mapping[Any, Any]) -> str:
    """Returns the standard's names of the wrong members, and nothing from the request."""
    names = sorted(str(name) for name in messages if name in _MEMBERS)
    return ", ".join(names) if names else "it must be a JSON object, sent as application/json"


_MEMBERS = frozenset({*EvaluationsSchema().fields, *ChangeSchema().fields})


def _decided(caller: Principal, wanted: list[dict[str, Any]], semantic: Semantic) -> list[Decision | NoDecision]:
    behind = Request(g.correlation_id, request.path, caller.user)
    return services().enforcement.answer(_questions(caller, wanted), semantic, behind)


def _questions(caller: Principal, wanted: list[dict[str, Any]]) -> list[Evaluation]:
    """Raises BadRequest, also when the questions together are too long: each repeats the shared defaults."""
    made, left = [], LONGEST
    for each in wanted:
        made.append(_question(caller, each))
        left -= sum(map(len, made[-1])) - len(caller.subject.properties)
        if left < 0:
            raise BadRequest(f"The questions have more than {LONGEST} characters, shared parts counted in each.")
    return made


def _question(caller: Principal, wanted: dict[str, Any]) -> Evaluation:
    if "action" not in wanted or "resource" not in wanted:
        raise BadRequest("A question has an action and a resource.")
    action, resource = wanted["action"], wanted["resource"]
    try:
        return Evaluation(
            *_subject(caller, wanted.get("subject", {})),
            action["name"],
            resource["type"],
            resource["id"],
            properties(resource["properties"]),
            enforcement.context_with(context.client().address, wanted.get("context", {})),
            properties(action["properties"]),
        )
    except (ValueError, RecursionError) as err:
        raise BadRequest("The properties hold a value that JSON cannot express.") from err


def _subject(caller: Principal, named: Mapping[str, Any]) -> Subject:
    """Returns the subject: the caller, with the properties that the BFF knows.

    A client that speaks for itself may name any subject. Raises BadRequest, OtherSubject.
    """
    if caller.is_client:
        if "type" not in named or "id" not in named:
            raise BadRequest("A client that speaks for itself must name the subject.")
        return Subject(named["type"], named["id"], properties(named["properties"]))
    own = caller.subject
    if named.get("type", own.type) != own.type or named.get("id", own.id) != own.id:
        raise OtherSubject
    return own


def _said(decision: Decision | NoDecision) -> dict[str, Any]:
    """Renders a decision (AuthZEN 1.0 sections 5.5 and 7.2.1)."""
    if isinstance(decision, NoDecision):
        error = {"status": _STATUS[decision.cause], "message": enforcement.WHY[decision.cause]}
        if decision.cause is Cause.QUESTION:
            error["code"] = enforcement.CODES[decision.cause]
        return {"decision": False, "context": {"error": error}}
    if decision.allowed or not decision.reason:
        return {"decision": decision.allowed}
    return {"decision": False, "context": {"reason_user": {"en": decision.reason}}}


def _answered(response: Response) -> Response:
    """Adds the caller's own request id, if it sent one (AuthZEN 1.0 section 10.1.3)."""
    name = request.headers.get("X-Request-ID", "")
    if 0 < len(name) <= _LONGEST_REQUEST_ID and name.isascii() and name.isprintable():
        response.headers["X-Request-ID"] = name
    return response
