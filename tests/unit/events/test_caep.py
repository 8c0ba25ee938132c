"""Security Event Tokens (RFC 8417) with CAEP 1.0 events, as a receiver that only knows our public keys sees them."""

import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from bff.events.caep import EVENT_TYPES, MEDIA_TYPE, SecurityEventTokens
from bff.events.envelope import CloudEvent, enveloped
from bff.events.model import EventType, Topic
from bff.keys.signing import SigningKeys, generated
from tests.clock import Clock
from tests.unit.events.support import SOURCE

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
WHO = {"session": "s1", "user": "u1"}
HAPPENED = 1_800_000_000.5


@pytest.fixture(params=["ES256", "EdDSA", "RS256"])
def keys(request: pytest.FixtureRequest) -> SigningKeys:
    key = generated(request.param, 0)
    return SigningKeys(json.dumps(key.private()))


def event(event_type: EventType, **data: Any) -> CloudEvent:
    return enveloped(event_type, {**WHO, **data}, source=SOURCE, now=HAPPENED, correlation_id="c-1", traceparent=None)


def token(made: CloudEvent, keys: SigningKeys) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, verified."""
    algorithm = keys.all[0].algorithm
    published: Any = {"keys": keys.public()}
    read = jwt.decode(made.content["data"], KeySet.import_key_set(published), algorithms=[algorithm])
    return dict(read.header), dict(read.claims)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
def test_a_session_that_ended(keys: SigningKeys) -> None:
    ended = event(EventType.SESSION_ENDED, idp="default", reason="logout")
    made = SecurityEventTokens(keys, SOURCE, Clock(HAPPENED + 60)).of(ended)
    header, claims = token(made[0], keys)
    assert (header["typ"], header["kid"]) == ("secevent+jwt", keys.all[0].kid)
    assert claims == {
        "iss": SOURCE,
        "jti": ended.content["id"],
        "iat": int(HAPPENED + 60),
        "toe": int(HAPPENED),
        "txn": "c-1",
        "sub_id": {
            "format": "complex",
            "session": {"format": "opaque", "id": "s1"},
            "user": {"format": "opaque", "id": "u1"},
        },
        "events": {
            CAEP + "session-revoked": {
                "event_timestamp": int(HAPPENED),
                "initiating_entity": "user",
                "reason_admin": {"en": "logout"},
            }
        },
    }
    told = dict(made[0].content)
    told.pop("data")
    assert told == {
        "specversion": "1.0",
        "id": f"{ended.content['id']}-set",
        "source": SOURCE,
        "type": CAEP + "session-revoked",
        "time": ended.content["time"],
        "datacontenttype": MEDIA_TYPE,
        "subject": "s1",
        "correlationid": "c-1",
    }
    assert (made[0].topic, made[0].key) == (Topic.SESSIONS, "s1")


@pytest.mark.parametrize(
    ("told", "name", "payload"),
    [
        (event(EventType.SESSION_CREATED, idp="i"), "session-established", {"initiating_entity": "user"}),
        (event(EventType.CLAIMS_CHANGED, roles=["r"]), "token-claims-change", {"claims": {"roles": ["r"]}}),
        (
            event(EventType.CLAIMS_CHANGED, roles=[], permissions=["p"]),
            "token-claims-change",
            {"claims": {"roles": [], "permissions": ["p"]}},
        ),
        *(
            (
                event(EventType.SESSION_ENDED, idp="i", reason=reason),
                "session-revoked",
                {"initiating_entity": who, "reason_admin": {"en": reason}},
            )
            for reason, who in {
                "logout_everywhere": "user",
                "replaced": "user",
                "idle_timeout": "policy",
                "absolute_timeout": "policy",
                "backchannel": "system",
                "refresh_rejected": "system",
                "revoked": "system",
            }.items()
        ),
        *(
            (
                event(EventType.SESSION_ENDED, idp="i", reason="revoked", by=by),
                "session-revoked",
                {"initiating_entity": who, "reason_admin": {"en": "revoked"}},
            )
            for by, who in {"user": "user", "operator": "admin"}.items()
        ),
    ],
)
def test_what_each_event_says(told: CloudEvent, name: str, payload: dict[str, Any]) -> None:
    keys = SigningKeys(json.dumps(generated("ES256", 0).private()))
    made = SecurityEventTokens(keys, SOURCE, Clock()).of(told)
    _, claims = token(made[0], keys)
    assert claims["events"] == {CAEP + name: {"event_timestamp": int(HAPPENED), **payload}}


@pytest.mark.parametrize("other", sorted(set(EventType) - EVENT_TYPES.keys()))
def test_nothing_of_other_events(other: EventType) -> None:
    keys = SigningKeys(json.dumps(generated("ES256", 0).private()))
    assert SecurityEventTokens(keys, SOURCE, Clock()).of(event(other)) == []


def test_nothing_of_an_event_that_another_release_kept() -> None:
    keys = SigningKeys(json.dumps(generated("ES256", 0).private()))
    other = event(EventType.SESSION_CREATED, idp="i")
    other.content["type"] = "session.something.new"
    assert SecurityEventTokens(keys, SOURCE, Clock()).of(other) == []


def test_a_new_key_signs_only_when_it_was_published_for_long_enough() -> None:
    clock = Clock()
    both = [generated("ES256", clock.now).private(), generated("ES256", clock.now - 7200).private()]
    keys = SigningKeys(json.dumps({"keys": both}))
    tokens = SecurityEventTokens(keys, SOURCE, clock)
    told = event(EventType.SESSION_CREATED, idp="i")
    assert token(tokens.of(told)[0], keys)[0]["kid"] == both[1]["kid"]
    clock.now += 3600
    assert token(tokens.of(told)[0], keys)[0]["kid"] == both[0]["kid"]
