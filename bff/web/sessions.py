"""Session management endpoints: a user lists and revokes their own sessions on all devices."""

from flask import Blueprint, Response, g, jsonify, make_response

from bff.errors import StoreUnavailable, UnknownSession
from bff.events.model import SecurityEvent
from bff.sessions.directory import SessionSummary
from bff.sessions.model import EndReason
from bff.web import context
from bff.web.context import services

blueprint = Blueprint("sessions", __name__)

MOST_LISTED = 100


@blueprint.get("/auth/sessions")
def listed() -> Response:
    """Lists the newest session first. `more`: true if only the most recently used sessions are listed."""
    found, more = services().directory.of_user(g.session.idp, g.session.user.sub, MOST_LISTED)
    return jsonify(sessions=[_shown(each) for each in found], more=more)


@blueprint.delete("/auth/sessions/<reference>")
def revoke(reference: str) -> Response:
    """Ends one session; the current one ends as by a logout. Answers 404 alike for an unknown and a foreign session."""
    service, current = services(), g.session
    owner = (current.idp, current.user.sub)
    try:
        session = service.directory.named(*owner, reference)
    except StoreUnavailable:
        service.authenticator.distrust(lambda each: (each.reference, each.idp, each.user.sub) == (reference, *owner))
        raise
    if session is None:
        raise UnknownSession
    if service.authenticator.end(session, EndReason.REVOKED, by="user"):
        service.audit.security(SecurityEvent.SESSION_REVOKED, session=session.reference, by="user")
    service.tokens.revocations.revoke_now(session.key)
    response = make_response("", 204)
    if session.key == current.key:
        context.forget_session(response)
    return response


def _shown(listed: SessionSummary) -> dict[str, object]:
    session, current = listed.session, listed.session.key == g.session.key
    return {
        "id": session.reference,
        "device": session.device,
        "network": session.binding.network,
        "since": int(session.created_at),
        "last_seen": int(services().clock() if current else listed.last_seen),
        "idp": session.idp,
        "current": current,
    }
