"""Bearer tokens of services: which are accepted, which refused and under what name, and what a worker remembers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import Key
from werkzeug.test import Client, TestResponse

from bff.errors import InvalidRequest
from bff.oidc.jwt import parse
from bff.oidc.key_questions import MOST
from bff.web.bearer import bearer_token
from tests.clock import Clock
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, login
from tests.flows.issued import BACKCHANNEL, access_token, logout_token
from tests.flows.provider import REMOVED, Answer, OpenIdProvider, html, raising, reply
from tests.flows.registration import SECRET
from tests.flows.tokens import compact, unsigned
from tests.fuzz import examples

VALIDATION = "bff_token_validation_total"
Issue = Callable[[OpenIdProvider], str]


def validate(bff: Site, token: str) -> TestResponse:
    return asked(bff, f"Bearer {token}")


def asked(bff: Site, authorization: str | None) -> TestResponse:
    headers = {} if authorization is None else {"Authorization": authorization}
    return Client(bff.app.wsgi_app, use_cookies=False).get("/auth/tokens/validate", base_url=BFF, headers=headers)


def refused(answer: TestResponse, token: str = "") -> bool:
    """As RFC 6750 section 3 has it, with that challenge alone and no word about a login."""
    content = answer.get_json(force=True)
    assert answer.headers.getlist("WWW-Authenticate") == ['Bearer error="invalid_token"']
    assert answer.headers["Cache-Control"] == "no-store"
    assert (content["code"], content["error"]) == ("invalid_token", "invalid_token")
    assert "login_url" not in content
    assert not token or token not in answer.text
    return answer.status_code == 401


def test_a_jwt_is_told_in_one_form(bff: Site, counters: Counters, clock: Clock) -> None:
    answer = validate(bff, access_token(bff.idp))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    now = int(clock())
    assert answer.get_json() == {
        "sub": "alice",
        "iss": ISSUER,
        "idp": "default",
        "arn": "auth:account:default:alice",
        "client_id": "service",
        "scope": ["orders:read", "orders:write"],
        "aud": [BFF],
        "roles": ["user"],
        "permissions": ["orders.read"],
        "iat": now,
        "exp": now + 600,
    }
    assert counters.gained(VALIDATION) == {"access_token_jwt valid": 1}


def claims(**changes: Any) -> Issue:
    return lambda idp: access_token(idp, **changes)


def plain(**changes: Any) -> Issue:
    return lambda idp: access_token(idp, {"typ": "JWT"}, **changes)


def header(**changes: Any) -> Issue:
    return lambda idp: access_token(idp, changes)


def times(**offsets: float) -> Issue:
    return lambda idp: access_token(idp, None, **{name: idp.clock() + offset for name, offset in offsets.items()})


GOOD: dict[str, Issue] = {
    "typed as a media type": header(typ="application/at+jwt"),
    "typed in capitals": header(typ="AT+JWT"),
    "plain": plain(),
    "without a type": header(typ=REMOVED),
    "one of several audiences": claims(aud=["other", BFF]),
    "expired within the leeway": times(exp=-59),
    "issued in the future within the leeway": times(iat=60),
    "no iat": claims(iat=REMOVED),
    "typed, with our own client as one audience": claims(aud=["bff", BFF]),
    "typed by Keycloak": plain(typ="Bearer", azp="service", client_id=REMOVED),
    "used by Cognito": plain(token_use="access"),
    "scope as a list": claims(scope=REMOVED, scp=["a", "b"]),
}


@pytest.mark.parametrize("issue", GOOD.values(), ids=GOOD)
def test_a_jwt_that_is_unusual_but_right(bff: Site, issue: Issue) -> None:
    answer = validate(bff, issue(bff.idp))
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["client_id"] == "service"


def by_hs256(idp: OpenIdProvider) -> str:
    idp.sign = idp.hs256
    return access_token(idp)


def by_nobody(idp: OpenIdProvider) -> str:
    idp.sign = unsigned
    return access_token(idp)


BAD: dict[str, tuple[Issue, str]] = {
    "alg none": (by_nobody, "bad_signature"),
    "HS256 with the client secret": (by_hs256, "bad_signature"),
    "a byte changed": (lambda idp: access_token(idp)[:-8] + "AAAAAAAA", "bad_signature"),
    "unknown kid": (header(kid="nobody"), "unknown_key"),
    "a critical header": (header(crit=["exp"]), "malformed"),
    "an ID token's type": (header(typ="id+jwt"), "malformed"),
    "a logout token's type": (header(typ="logout+jwt"), "malformed"),
    "a type that is a number": (header(typ=7), "malformed"),
    "another issuer": (claims(iss="https://evil.example"), "bad_issuer"),
    "no issuer": (claims(iss=REMOVED), "bad_issuer"),
    "an issuer that is a list": (claims(iss=[ISSUER]), "bad_issuer"),
    "an issuer with a slash more": (claims(iss=ISSUER + "/"), "bad_issuer"),
    "another audience": (claims(aud="https://other.example"), "bad_audience"),
    "no audience": (claims(aud=REMOVED), "bad_audience"),
    "an audience that is an object": (claims(aud={BFF: 1}), "bad_audience"),
    "our client as the only audience": (claims(aud="bff"), "bad_audience"),
    "expired": (times(exp=-60), "expired"),
    "no exp": (claims(exp=REMOVED), "malformed"),
    "exp as text": (claims(exp="1900000000"), "malformed"),
    "issued in the future": (times(iat=61), "not_yet_valid"),
    "not valid yet": (times(nbf=61), "not_yet_valid"),
    "no sub": (claims(sub=REMOVED), "malformed"),
    "sub that is a number": (claims(sub=7), "malformed"),
    "bound to a DPoP key": (claims(cnf={"jkt": "x"}), "malformed"),
    "bound to a certificate": (plain(cnf={"x5t#S256": "x"}), "malformed"),
    "a nonce": (plain(nonce="n"), "malformed"),
    "an ID token's hash": (plain(at_hash="x"), "malformed"),
    "an event": (plain(events={BACKCHANNEL: {}}), "malformed"),
    "plain, with our client beside us": (plain(aud=["bff", BFF]), "inactive"),
    "plain, with its own client beside us": (plain(aud=["service", BFF]), "inactive"),
    "plain, with its own azp beside us": (plain(client_id=REMOVED, azp="a", aud=["a", BFF]), "inactive"),
    "an ID token by Keycloak": (plain(typ="ID"), "malformed"),
    "a refresh token by Keycloak": (plain(typ="Refresh"), "malformed"),
    "an ID token by Cognito": (plain(token_use="id"), "malformed"),
    "a logout token": (lambda idp: logout_token(idp, sub="alice", aud=BFF), "malformed"),
    "a logout token without its type": (lambda idp: logout_token(idp, {"typ": REMOVED}, sub="a", aud=BFF), "malformed"),
    "a header only": (lambda _idp: "e30..", "malformed"),
    "claims that are a list": (lambda idp: compact({"alg": "RS256"}, b"[]", idp.keys[0]), "malformed"),
}


@pytest.mark.parametrize(("issue", "status"), BAD.values(), ids=BAD)
def test_a_jwt_that_is_refused(bff: Site, counters: Counters, issue: Issue, status: str) -> None:
    token = issue(bff.idp)
    assert refused(validate(bff, token), token)
    assert status in validate(bff, token).get_json(force=True)["detail"]
    assert counters.gained(VALIDATION) == {f"access_token_jwt {status}": 2}


def test_what_a_login_brings_is_no_access_token(new_site: SiteFactory) -> None:
    """Also where the operator lists the client itself as an audience, and also without its nonce."""
    bff = new_site(OIDC_AUDIENCES="bff")
    bff.logged_in()
    (id_token,) = (token for token in bff.idp.issued if token.count(".") == 2)
    assert refused(validate(bff, id_token), id_token)
    bff.idp.claims = {"nonce": REMOVED, "at_hash": REMOVED}
    login(bff.browser())
    id_token = [token for token in bff.idp.issued if token.count(".") == 2][-1]
    assert "nonce" not in parse(id_token).claims
    assert refused(validate(bff, id_token), id_token)
    assert validate(bff, access_token(bff.idp, aud="bff")).status_code == 200, "typed, it says what it is"


def test_what_may_be_an_id_token_is_known_by_its_provider(bff: Site, counters: Counters) -> None:
    token = access_token(bff.idp, {"typ": "JWT"}, aud=["service", BFF])
    bff.idp.introspected[token] = {"active": True, "sub": "alice", "aud": BFF}
    assert validate(bff, token).status_code == validate(bff, token).status_code == 200
    assert bff.idp.count("introspect") == 1, "remembered"
    assert counters.gained(VALIDATION) == {"access_token_jwt valid": 2}


def test_what_may_be_an_id_token_is_refused_where_nobody_can_tell(bff: Site, counters: Counters) -> None:
    bff.idp.metadata = {"introspection_endpoint": REMOVED}
    assert refused(validate(bff, access_token(bff.idp, {"typ": "JWT"}, aud=["service", BFF])))
    assert counters.gained(VALIDATION) == {"access_token_jwt bad_audience": 1}


def test_what_may_be_an_id_token_is_no_verdict_while_its_provider_is_away(bff: Site, counters: Counters) -> None:
    bff.idp.break_endpoint("introspect", html(500))
    assert validate(bff, access_token(bff.idp, {"typ": "JWT"}, aud=["service", BFF])).status_code == 503
    assert counters.gained(VALIDATION) == {"access_token_jwt error": 1}


def test_the_audiences_of_the_operator_count_instead_of_ours(new_site: SiteFactory) -> None:
    bff = new_site(OIDC_AUDIENCES="https://api.example other")
    assert refused(validate(bff, access_token(bff.idp)))
    for audience in ("https://api.example", "other", ["x", "other"]):
        assert validate(bff, access_token(bff.idp, aud=audience)).status_code == 200


def two_providers(new_site: SiteFactory, folder: Path, clock: Clock, keys: tuple[Key, Key]) -> Site:
    (folder / "config").mkdir()
    (folder / "config/idps.yaml").write_text(
        f"providers:\n"
        f"  one: {{issuer: {ISSUER}, client_id: bff, client_secret: '{SECRET}', user_id: arn,\n"
        f"    claims: {{roles: realm.roles, permissions: may}}}}\n"
        f"  two: {{issuer: https://two.example, client_id: bff, client_secret: '{SECRET}', user_id: arn,\n"
        f"    audiences: [https://two.api]}}\n"
    )
    providers = {
        "one": OpenIdProvider(ISSUER, keys[0], clock),
        "two": OpenIdProvider("https://two.example", keys[1], clock),
    }
    return new_site(providers)


@pytest.fixture
def two(new_site: SiteFactory, tmp_path: Path, clock: Clock, rsa: Key, other_rsa: Key) -> Site:
    return two_providers(new_site, tmp_path, clock, (rsa, other_rsa))


def test_each_provider_has_its_own_keys_audiences_and_names(two: Site) -> None:
    one, other = two.providers.values()
    answer = validate(two, access_token(one, realm={"roles": ["r"]}, may="a b")).get_json()
    assert (answer["idp"], answer["roles"], answer["permissions"]) == ("one", ["r"], ["a", "b"])
    answer = validate(two, access_token(other, aud="https://two.api")).get_json()
    assert (answer["idp"], answer["arn"]) == ("two", "auth:account:two:alice")
    assert refused(validate(two, access_token(other))), "our own audience is not among the listed ones"
    assert refused(validate(two, access_token(other, aud="https://two.api", iss=ISSUER))), "signed by another provider"


# What stands in the request.


@pytest.mark.parametrize("authorization", [None, "", "Basic eDp5", "DPoP abc", "Bearers x"])
def test_no_token_at_all(bff: Site, authorization: str | None) -> None:
    answer = asked(bff, authorization)
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (401, "token_required")
    assert answer.headers.getlist("WWW-Authenticate") == ["Bearer"], "no error code where nothing was tried"
    assert "login_url" not in answer.text


@pytest.mark.parametrize("token", ["", " ", "a b", "a,Bearer b", "=", "a=b", "tökén", '"a"', "a;b"])
def test_a_header_that_holds_no_token(bff: Site, counters: Counters, token: str) -> None:
    answer = asked(bff, f"Bearer {token}")
    content = answer.get_json(force=True)
    assert (answer.status_code, content["code"], content["error"]) == (400, "invalid_request", "invalid_request")
    assert answer.headers.getlist("WWW-Authenticate") == ['Bearer error="invalid_request"']
    assert counters.gained(VALIDATION) == {}


@pytest.mark.parametrize("authorization", ["bearer abc", "BEARER  abc", " Bearer abc "])
def test_the_scheme_is_read_as_http_has_it(authorization: str) -> None:
    assert bearer_token(authorization) == "abc"


@examples(200)
@given(st.text(st.characters(codec="latin-1"), max_size=80))
def test_any_header_gives_a_token_or_its_own_answer(text: str) -> None:
    try:
        assert bearer_token("Bearer " + text).isascii()
    except InvalidRequest:
        return


# What a worker remembers.


def calls(bff: Site) -> int:
    return bff.idp.count("jwks")


def test_a_jwt_is_good_until_its_end_however_often_it_was_seen(bff: Site, clock: Clock, counters: Counters) -> None:
    token = access_token(bff.idp, exp=clock() + 200)
    for _ in range(3):
        assert validate(bff, token).status_code == 200
    clock.now += 200 + 60
    assert refused(validate(bff, token))
    assert counters.gained(VALIDATION) == {"access_token_jwt valid": 3, "access_token_jwt expired": 1}


def remembered(bff: Site, token: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a worker that could not verify anything accepts it."""

    def unable(_text: str) -> None:
        raise AssertionError("parsed again")

    with monkeypatch.context() as patch:
        patch.setattr("bff.bearer.tokens.parse", unable)
        return validate(bff, token).status_code == 200


@pytest.mark.parametrize(("life", "last"), [(200, 199), (10_000, 299)])
def test_a_jwt_is_remembered_until_its_end_and_for_five_minutes_at_most(
    bff: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch, life: int, last: int
) -> None:
    token = access_token(bff.idp, exp=clock() + life)
    assert not remembered(bff, token, monkeypatch)
    assert validate(bff, token).status_code == 200
    clock.now += last
    assert remembered(bff, token, monkeypatch)
    clock.now += 1
    assert not remembered(bff, token, monkeypatch)
    assert validate(bff, token).status_code == 200


def test_a_withdrawn_key_takes_its_tokens_along(bff: Site, other_rsa: Key, counters: Counters, clock: Clock) -> None:
    """Its token was seen and is still current; then the provider's keys are read anew because of another token."""
    token = access_token(bff.idp)
    assert validate(bff, token).status_code == 200
    bff.idp.keys = [other_rsa]
    clock.now += 11
    assert validate(bff, access_token(bff.idp)).status_code == 200, "rotation: the new key is found"
    assert refused(validate(bff, token))
    assert counters.gained(VALIDATION) == {"access_token_jwt valid": 2, "access_token_jwt unknown_key": 1}


def test_unknown_keys_do_not_make_us_ask_again_and_again(bff: Site) -> None:
    for number in range(20):
        assert refused(validate(bff, access_token(bff.idp, {"kid": f"invented-{number}"})))
    assert calls(bff) == 1 + MOST


def test_forged_tokens_do_not_keep_a_login_from_finding_a_new_key(bff: Site, other_rsa: Key) -> None:
    """Anybody can send Bearer and logout tokens; only the provider can send an ID token."""
    bff.logged_in()
    for number in range(20):
        forged = {"kid": f"forged-{number}"}
        assert refused(validate(bff, access_token(bff.idp, forged)))
        form = {"logout_token": logout_token(bff.idp, forged, sub="alice")}
        assert Client(bff.app.wsgi_app).post("/auth/backchannel-logout", base_url=BFF, data=form).status_code == 400
    bff.idp.keys = [other_rsa]
    assert login(bff.browser()).status_code == 302


def test_a_worker_remembers_so_many(bff: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bff.services.bearers._verified, "_size", 3)
    tokens = [access_token(bff.idp) for _ in range(5)]
    assert all(validate(bff, token).status_code == 200 for token in tokens)
    assert len(bff.services.bearers._verified) == 3
    assert [remembered(bff, token, monkeypatch) for token in tokens] == [False, False, True, True, True]


OUTAGES: list[Answer] = [
    html(200),
    html(500),
    lambda: reply({"error": "invalid_client"}, 401),
    lambda: reply({"keys": []}),
    raising(requests.Timeout()),
    raising(requests.ConnectionError()),
]


@pytest.mark.parametrize("answer", OUTAGES)
def test_without_keys_there_is_no_verdict(bff: Site, counters: Counters, answer: Answer) -> None:
    bff.idp.break_endpoint("jwks", answer)
    found = validate(bff, access_token(bff.idp))
    assert (found.status_code, found.get_json(force=True)["code"]) == (503, "idp_unavailable")
    assert found.headers["Retry-After"]
    assert counters.gained(VALIDATION) == {"access_token_jwt error": 1}


def test_keys_that_are_known_serve_while_the_provider_is_away(bff: Site) -> None:
    assert validate(bff, access_token(bff.idp)).status_code == 200
    bff.idp.break_endpoint("jwks", html(500))
    bff.idp.break_endpoint("discovery", html(500))
    assert validate(bff, access_token(bff.idp)).status_code == 200


# Tokens that only the provider can read.


def test_an_opaque_token_is_introspected(bff: Site, counters: Counters, clock: Clock) -> None:
    bff.idp.introspected["opaque"] = {
        "active": True, "sub": "alice", "client_id": "service", "scope": "a b", "token_type": "Bearer",
        "exp": clock() + 600, "iss": ISSUER, "aud": [BFF], "roles": "user admin",
    }  # fmt: skip
    answer = validate(bff, "opaque")
    assert answer.status_code == 200
    content = answer.get_json()
    assert (content["arn"], content["scope"], content["roles"]) == (
        "auth:account:default:alice",
        ["a", "b"],
        ["user", "admin"],
    )
    assert (content["exp"], content["iat"]) == (clock() + 600, None)
    assert bff.idp.last("introspect").form["token_type_hint"] == "access_token"
    assert counters.gained(VALIDATION) == {"access_token_opaque valid": 1}
    assert counters.gained("bff_idp_requests_total")["introspection 200"] == 1


ACTIVE = {"active": True, "sub": "alice", "aud": BFF}

REFUSED_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "inactive": ({"active": False}, "inactive"),
    "another issuer": ({"iss": "https://evil.example"}, "bad_issuer"),
    "another audience": ({"aud": "https://other.example"}, "bad_audience"),
    "no audience that could be one": ({"aud": 7}, "bad_audience"),
    "no audience": ({"aud": REMOVED}, "bad_audience"),
    "an empty list of audiences": ({"aud": []}, "bad_audience"),
    "an audience that is null": ({"aud": None}, "bad_audience"),
    "expired": ({"exp": 1}, "expired"),
    "exp as text": ({"exp": "soon"}, "malformed"),
    "not valid yet": ({"nbf": 1_900_000_000}, "not_yet_valid"),
    "nobody's": ({"sub": REMOVED}, "malformed"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, "malformed"),
    "another token type": ({"token_type": "DPoP"}, "malformed"),
    "a refresh token by Hydra": ({"token_use": "refresh_token"}, "malformed"),
    "a refresh token by Keycloak": ({"typ": "Refresh"}, "malformed"),
}


@pytest.mark.parametrize(("changes", "status"), REFUSED_ANSWERS.values(), ids=REFUSED_ANSWERS)
def test_an_answer_that_is_no_yes(bff: Site, counters: Counters, changes: dict[str, Any], status: str) -> None:
    answer = {**ACTIVE, **changes}
    bff.idp.introspected["opaque"] = {name: value for name, value in answer.items() if value is not REMOVED}
    assert refused(validate(bff, "opaque"))
    assert refused(validate(bff, "opaque"))
    assert counters.gained(VALIDATION) == {f"access_token_opaque {status}": 2}
    assert bff.idp.count("introspect") == 1, "remembered"


@pytest.mark.parametrize(
    "answer", [*OUTAGES, lambda: reply({}), lambda: reply({"active": "true"}), lambda: reply([True])]
)
def test_without_an_answer_there_is_no_verdict(bff: Site, counters: Counters, answer: Answer) -> None:
    bff.idp.introspected["opaque"] = ACTIVE
    bff.idp.break_endpoint("introspect", answer)
    assert validate(bff, "opaque").status_code == 503
    bff.idp.repair()
    assert validate(bff, "opaque").status_code == 200, "nothing was remembered"
    assert counters.gained(VALIDATION) == {"access_token_opaque error": 1, "access_token_opaque valid": 1}


@pytest.mark.parametrize(("exp", "last"), [(None, 29), (600, 29), (20, 19)])
def test_an_active_token_is_remembered_for_half_a_minute_at_most(
    bff: Site, clock: Clock, exp: int | None, last: int
) -> None:
    bff.idp.introspected["opaque"] = {**ACTIVE, **({"exp": clock() + exp} if exp else {})}
    assert validate(bff, "opaque").status_code == 200
    bff.idp.introspected.clear()
    clock.now += last
    assert validate(bff, "opaque").status_code == 200
    clock.now += 1
    assert refused(validate(bff, "opaque"))


def test_a_refusal_is_remembered_for_half_a_minute(bff: Site, clock: Clock) -> None:
    assert refused(validate(bff, "opaque"))
    bff.idp.introspected["opaque"] = ACTIVE
    clock.now += 29
    assert refused(validate(bff, "opaque"))
    clock.now += 1
    assert validate(bff, "opaque").status_code == 200


def asked_of(bff: Site) -> dict[str, int]:
    return {alias: provider.count("introspect") for alias, provider in bff.providers.items()}


def test_none_of_several_providers_sees_an_opaque_token_unless_it_is_declared(two: Site, counters: Counters) -> None:
    """Whoever runs one of them would be handed the tokens of all the others."""
    for provider in two.providers.values():
        provider.introspected["opaque"] = ACTIVE
    assert refused(validate(two, "opaque"))
    assert asked_of(two) == {"one": 0, "two": 0}
    assert counters.gained(VALIDATION) == {"access_token_opaque malformed": 1}


@pytest.mark.parametrize("declared", ["one", "two"])
def test_the_declared_provider_alone_sees_opaque_tokens(
    two: Site, new_site: SiteFactory, tmp_path: Path, declared: str
) -> None:
    declare(tmp_path, declared, opaque_tokens=True)
    bff = new_site(two.providers)
    for provider in bff.providers.values():
        provider.introspected["opaque"] = {**ACTIVE, "aud": [BFF, "https://two.api"]}
    assert validate(bff, "opaque").get_json()["idp"] == declared
    assert refused(validate(bff, "unknown"))
    assert asked_of(bff) == {"one": 0, "two": 0, declared: 2}


def declare(folder: Path, alias: str, **keys: object) -> None:
    """More of a provider in the idps.yaml that `two` wrote."""
    file = folder / "config/idps.yaml"
    content = yaml.safe_load(file.read_text())
    content["providers"][alias] |= keys
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def test_an_audience_may_be_missing_where_the_operator_says_so(
    two: Site, new_site: SiteFactory, tmp_path: Path
) -> None:
    declare(tmp_path, "one", opaque_tokens=True, introspection_aud="optional")
    bff = new_site(two.providers)
    bff.idp.introspected |= {"without": {"active": True, "sub": "alice"}, "others": {**ACTIVE, "aud": "other"}}
    assert validate(bff, "without").status_code == 200
    assert refused(validate(bff, "others")), "what is said still counts"


@pytest.mark.parametrize("opaque", ["true", "false", ""])
def test_a_provider_alone_sees_opaque_tokens_unless_told_otherwise(new_site: SiteFactory, opaque: str) -> None:
    bff = new_site(OPAQUE_TOKENS_ENABLED=opaque)
    bff.idp.introspected["opaque"] = ACTIVE
    assert validate(bff, "opaque").status_code == (401 if opaque == "false" else 200)
    assert bff.idp.count("introspect") == (0 if opaque == "false" else 1)


def test_nobody_to_ask(bff: Site, counters: Counters) -> None:
    bff.idp.metadata = {"introspection_endpoint": REMOVED}
    assert refused(validate(bff, "opaque"))
    assert counters.gained(VALIDATION) == {"access_token_opaque malformed": 1}


def test_nobody_reads_a_token_by_accident(bff: Site) -> None:
    token = access_token(bff.idp)
    accepted = bff.services.bearers.validate(token, "192.0.2.1")
    shown = repr(accepted) + repr(parse(token)) + repr(bff.services.bearers)
    assert not any(word in shown for word in (token, "alice", token.split(".")[2]))
