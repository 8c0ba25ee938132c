"""Several OpenID Providers in config/idps.yaml."""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import Key

from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, begin, login, to_callback
from tests.flows.provider import REMOVED, OpenIdProvider

PARTNER = "https://login.partner.example/realms/a"
IDPS = f"""
providers:
  corporate:
    issuer: {ISSUER}
    client_id: bff
    client_secret: ${{AUTH_CLIENT_SECRET}}
  partner:
    issuer: {PARTNER}
    client_id: partner-client
    client_secret: a secret that only the partner knows
    token_auth_method: client_secret_post
    user_id: arn
    scopes: openid groups
    claims: {{name: display_name, email: contact.email, roles: realm_access.roles}}
    authorization_parameters: {{resource: "https://api.example.com", prompt: login, acr_values: mfa}}
"""


@pytest.fixture
def bff(new_site: SiteFactory, tmp_path: Path, clock: Clock, rsa: Key, other_rsa: Key) -> Site:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "idps.yaml").write_text(IDPS)
    partner = OpenIdProvider(PARTNER, other_rsa, clock)
    partner.client.client_id = "partner-client"
    partner.client.secret = "a secret that only the partner knows"
    partner.client.method = "client_secret_post"
    partner.user = {
        "sub": "älice 7%",
        "display_name": "Alice P.",
        "contact": {"email": "alice@partner.example"},
        "realm_access": {"roles": ["buyer", 7, "seller"]},
    }
    return new_site(providers={"corporate": OpenIdProvider(ISSUER, rsa, clock), "partner": partner})


def test_the_first_is_the_default(bff: Site, browser: Browser) -> None:
    login(browser)
    assert browser.fetch("/auth/session").get_json()["idp"] == "corporate"
    assert browser.verify().headers["X-User-ID"] == "alice"


def test_idp_chooses_another_with_names_of_its_own(bff: Site, browser: Browser) -> None:
    location = begin(browser, "?idp=partner").location
    assert location.startswith(f"{PARTNER}/authorize?")
    assert "scope=openid+groups" in location
    assert "resource=https%3A%2F%2Fapi.example.com" in location
    login(browser, "?idp=partner")
    content = browser.fetch("/auth/session").get_json()
    user = {"sub": "älice 7%", "name": "Alice P.", "email": "alice@partner.example", "roles": ["buyer", "seller"]}
    assert content["user"] == user
    assert content["idp"] == "partner"
    assert browser.verify().headers["X-User-ID"] == "auth:account:partner:%C3%A4lice%207%25"


@pytest.mark.parametrize("par", [False, True])
def test_the_operators_parameters_win_over_the_browsers(bff: Site, browser: Browser, par: bool) -> None:
    """Anybody may write a link to /auth/login: it must not talk the provider out of what the operator demands."""
    partner = bff.providers["partner"]
    if par:
        partner.offer_par()
    hints = "prompt=none&acr_values=pwd&login_hint=alice&resource=https://evil.example&response_mode=fragment"
    location = begin(browser, f"?idp=partner&{hints}").location
    asked = partner.last("par").form if par else dict(parse_qsl(urlsplit(location).query))
    assert (asked["prompt"], asked["acr_values"], asked["login_hint"]) == ("login", "mfa", "alice")
    assert asked["resource"] == "https://api.example.com"
    assert "response_mode" not in asked


@pytest.mark.parametrize(
    ("sub", "user_id"),
    [
        ("auth:account:partner:alice", "auth%253Aaccount%253Apartner%253Aalice"),
        ("f:4711:alice", "f:4711:alice"),
    ],
)
def test_no_sub_makes_somebody_another_provider_s_user(bff: Site, browser: Browser, sub: str, user_id: str) -> None:
    bff.idp.user["sub"] = sub
    login(browser)
    assert browser.fetch("/auth/session").get_json()["user"]["sub"] == sub
    assert browser.verify().headers["X-User-ID"] == user_id


@pytest.mark.parametrize("idp", ["nobody", "", "CORPORATE", "corporate/../partner"])
def test_an_unknown_one_is_refused(bff: Site, browser: Browser, idp: str) -> None:
    answer = begin(browser, f"?idp={idp}")
    assert answer.status_code == 400
    assert "unknown_idp" in answer.text
    assert bff.store.writes == []


def test_an_answer_of_one_provider_is_not_taken_for_the_others(bff: Site, browser: Browser, counters: Counters) -> None:
    """The mix-up attack (RFC 9207): the code of one provider comes back for the state of another."""
    mixed = to_callback(browser, "?idp=partner").replace("login.partner.example%2Frealms%2Fa", "idp.example")
    assert "iss=https%3A%2F%2Fidp.example&" in mixed + "&"
    answer = browser.navigate(mixed, came_from=ISSUER)
    assert answer.status_code == 400
    assert counters.gained("bff_logins_total") == {"started": 1, "state_mismatch": 1}
    assert bff.providers["partner"].count("token") == bff.idp.count("token") == 0


def test_a_token_of_one_provider_is_not_taken_for_the_others(bff: Site, browser: Browser, counters: Counters) -> None:
    """Same key id, same client id, but signed by the corporate provider's key."""
    partner = bff.providers["partner"]
    partner.claims = {"at_hash": REMOVED}
    partner.sign = lambda header, claims: bff.idp.signed({**header, "kid": "second"}, claims)
    assert login(browser, "?idp=partner").status_code == 400
    assert counters.gained("bff_token_validation_total") == {"id_token bad_signature": 1}


def test_an_attempt_whose_provider_was_removed_meanwhile(
    new_site: SiteFactory, bff: Site, browser: Browser, tmp_path: Path, counters: Counters
) -> None:
    url = to_callback(browser, "?idp=partner")
    (tmp_path / "config" / "idps.yaml").write_text(IDPS[: IDPS.index("  partner")])
    browser.hosts = new_site(providers=bff.providers).hosts
    answer = browser.navigate(url, came_from=PARTNER)
    assert answer.status_code == 400
    assert counters.gained("bff_logins_total") == {"started": 1, "idp_error": 1}
    assert f"{BFF}/auth/login" in answer.text


def test_the_same_sub_at_two_providers_is_two_people(bff: Site, counters: Counters) -> None:
    bff.providers["partner"].user["sub"] = "alice"
    here, there = bff.browser(), bff.browser()
    login(here)
    login(there, "?idp=partner")
    assert here.verify().headers["X-User-ID"] != there.verify().headers["X-User-ID"]
    token = here.fetch("/auth/csrf").get_json()["csrf_token"]
    here.fetch("/auth/logout", method="POST", json={"everywhere": True}, headers={"X-CSRF-Token": token})
    assert counters.gained("bff_sessions_destroyed_total") == {"logout_everywhere": 1}
    assert there.verify().status_code == 200
