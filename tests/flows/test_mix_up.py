"""The mix-up of providers (RFC 9700 section 4.4): an answer is taken at the attempt's own address, or not at all."""

from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc.jwk import Key

from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, begin, login, to_callback
from tests.flows.provider import OpenIdProvider
from tests.flows.registration import SECRET

EVIL = "https://evil.example"
HONEST_ALONE = f"""
providers:
  honest: {{issuer: {ISSUER}, client_id: bff, client_secret: "{SECRET}"}}
"""
BOTH = f"{HONEST_ALONE}  evil: {{issuer: {EVIL}, client_id: bff, client_secret: x, user_id: arn}}\n"


@pytest.fixture
def idps(tmp_path: Path) -> Path:
    (tmp_path / "config").mkdir()
    return tmp_path / "config" / "idps.yaml"


@pytest.fixture
def providers(clock: Clock, rsa: Key, other_rsa: Key) -> dict[str, OpenIdProvider]:
    """Neither sends `iss` (RFC 9207), so that alone the redirect URI tells whose answer it is."""
    found = {"honest": OpenIdProvider(ISSUER, rsa, clock), "evil": OpenIdProvider(EVIL, other_rsa, clock)}
    found["evil"].client.secret = "x"
    for provider in found.values():
        provider.metadata = {"authorization_response_iss_parameter_supported": False}
        provider.authorization_response = {"iss": None}
    return found


@pytest.fixture
def bff(new_site: SiteFactory, idps: Path, providers: dict[str, OpenIdProvider]) -> Site:
    idps.write_text(BOTH)
    return new_site(providers)


def asked(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def stolen(bff: Site, browser: Browser) -> dict[str, str]:
    """The victim chose evil, which sends the browser on to honest, as if that had been the choice: honest's code and
    the state of the attempt at evil."""
    attempt = asked(begin(browser, "?idp=evil").location)
    detour = {**attempt, "redirect_uri": f"{BFF}/auth/callback/honest"}
    answer = browser.navigate(f"{ISSUER}/authorize?{urlencode(detour)}", came_from=EVIL)
    return asked(answer.location)


@pytest.mark.parametrize("alias", ["honest", "evil"])
@pytest.mark.parametrize("par", [False, True])
def test_each_of_several_has_a_redirect_uri_of_its_own(bff: Site, browser: Browser, alias: str, par: bool) -> None:
    provider, expected = bff.providers[alias], f"{BFF}/auth/callback/{alias}"
    if par:
        provider.offer_par()
    pushed_or_sent = begin(browser, f"?idp={alias}")
    request = provider.last("par").form if par else asked(pushed_or_sent.location)
    assert request["redirect_uri"] == expected
    answer = login(browser, f"?idp={alias}")
    assert (answer.status_code, answer.location) == (302, "/")
    assert provider.last("token").form["redirect_uri"] == expected
    assert browser.fetch("/auth/session").get_json()["idp"] == alias


@pytest.mark.parametrize("address", ["/auth/callback/honest", "/auth/callback", "/auth/callback/nobody"])
@pytest.mark.parametrize("answer", ["code", "error"])
def test_a_code_of_one_is_never_sent_to_another(
    bff: Site, browser: Browser, counters: Counters, address: str, answer: str
) -> None:
    given = stolen(bff, browser)
    if answer == "error":
        given = {"error": "access_denied", "state": given["state"]}
    refused = browser.navigate(f"{address}?{urlencode(given)}", came_from=ISSUER)
    assert refused.status_code == 400
    assert "state_mismatch" in refused.text
    assert counters.gained("bff_logins_total") == {"started": 1, "state_mismatch": 1}
    assert [provider.count("token") for provider in bff.providers.values()] == [0, 0]
    assert bff.active() == 0


def test_what_came_to_another_address_uses_nothing_up(bff: Site, browser: Browser) -> None:
    """Somebody who learns the state could otherwise end the attempt."""
    url = to_callback(browser, "?idp=honest")
    assert browser.navigate(url.replace("/honest?", "/evil?"), came_from=EVIL).status_code == 400
    assert browser.navigate(url, came_from=ISSUER).status_code == 302


@pytest.mark.parametrize("address", ["/auth/callback/honest", "/auth/callback/evil"])
def test_one_alone_keeps_the_short_address(
    new_site: SiteFactory, idps: Path, providers: dict[str, OpenIdProvider], address: str
) -> None:
    idps.write_text(HONEST_ALONE)
    browser = new_site(providers).browser()
    url = to_callback(browser)
    assert url.startswith(f"{BFF}/auth/callback?")
    refused = browser.navigate(url.replace("/auth/callback", address), came_from=ISSUER)
    assert (refused.status_code, "state_mismatch" in refused.text) == (400, True)
    assert browser.navigate(url, came_from=ISSUER).status_code == 302


@pytest.mark.parametrize(("before", "after"), [(HONEST_ALONE, BOTH), (BOTH, HONEST_ALONE)])
def test_an_attempt_that_began_under_the_former_address_begins_again(
    new_site: SiteFactory, idps: Path, providers: dict[str, OpenIdProvider], before: str, after: str
) -> None:
    """A provider was added, or removed, or the BFF is newer than the attempt: its answer comes to the wrong address."""
    idps.write_text(before)
    browser = new_site(providers).browser()
    url = to_callback(browser)
    idps.write_text(after)
    browser.hosts = new_site(providers).hosts
    refused = browser.navigate(url, came_from=ISSUER)
    assert (refused.status_code, "state_mismatch" in refused.text) == (400, True)
    assert f'href="{BFF}/auth/login?return_to=%2F&amp;idp=honest"' in refused.text, "the person starts again from there"
    assert login(browser).status_code == 302
    assert providers["honest"].count("token") == 1
