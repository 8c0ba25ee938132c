"""Races between login, refresh, each way in which a session ends, and revocation, at a provider with one grant for a
person: a session ends by a person's own deed or by its own time, and by nothing else."""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from joserfc.jwk import Key

from bff.sessions.model import EndReason
from bff.sessions.token_store import CODE_LIFE
from tests.clock import Clock
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, Site, SiteFactory, log_out, login, proof, site, to_callback
from tests.flows.one_grant import OneGrant
from tests.flows.provider import html
from tests.fuzz import examples

IDLE = 3600.0
QUIET = 900 + CODE_LIFE
BROWSERS = st.sampled_from(range(3))
ENVIRON = {"SESSION_LIFETIME": str(10**8), "SESSION_IDLE_TIMEOUT": str(int(IDLE))}


def come_back(browser: Browser, url: str) -> int:
    """Open a callback, and go to the provider again as often as the BFF sends the browser there; the last status."""
    for _ in range(4):
        answer = browser.navigate(url, came_from=ISSUER)
        if not answer.headers.get("Location", "").startswith(ISSUER):
            return answer.status_code
        url = browser.follow(answer, until=f"{BFF}/auth/callback").headers["Location"]
    return 0


def refresh(browser: Browser) -> int:
    return browser.fetch("/auth/tokens/refresh", method="POST", json={}, headers=proof(browser)).status_code


@pytest.fixture
def bff(new_site: SiteFactory, clock: Clock, rsa: Key) -> Site:
    return new_site({"default": OneGrant(ISSUER, rsa, clock)}, **ENVIRON)


def provider(bff: Site) -> OneGrant:
    assert isinstance(bff.idp, OneGrant)
    return bff.idp


def time_out(bff: Site, browser: Browser) -> None:
    bff.clock.now += IDLE + 1
    bff.services.store.sweep()


def end_by_operator(bff: Site, browser: Browser) -> None:
    (session,) = bff.services.directory.latest(1)
    bff.services.authenticator.end(session.session, EndReason.REVOKED, by="operator")


def be_ended_by_the_provider(bff: Site, browser: Browser) -> None:
    (session,) = bff.services.directory.latest(1)
    bff.services.authenticator.end(session.session, EndReason.BACKCHANNEL)


def lose_the_refresh_token(bff: Site, browser: Browser) -> None:
    bff.idp.later_grants.end_families()
    bff.clock.now += 601
    assert refresh(browser) == 401


def log_out_without_revocation(bff: Site, browser: Browser) -> None:
    bff.idp.break_endpoint("revoke", html(503))
    assert log_out(browser).status_code == 200
    bff.idp.repair()
    bff.clock.now += 60  # for the breaker


ENDS = [
    time_out,
    end_by_operator,
    be_ended_by_the_provider,
    lose_the_refresh_token,
    log_out_without_revocation,
]


@pytest.mark.parametrize("pause", [1.0, 10.0, QUIET + 1, 2 * QUIET])
@pytest.mark.parametrize("end", ENDS)
def test_a_login_after_each_end_keeps_its_tokens(bff: Site, end: Any, pause: float) -> None:
    """The second login comes before the queue's turn, and the turn before its refresh."""
    browser = bff.logged_in()
    end(bff, browser)
    assert come_back(browser, to_callback(browser)) == 302
    bff.clock.now += pause
    for _ in range(3):
        bff.services.tokens.revocations.revoke_due()
        assert refresh(browser) == 200
        bff.clock.now += 400


@pytest.mark.parametrize("endpoint", ["authorize", "token"])
def test_a_revocation_in_the_middle_of_a_login_makes_it_begin_again(
    bff: Site, endpoint: str, counters: Counters
) -> None:
    browser = bff.logged_in()
    time_out(bff, browser)
    bff.clock.now += QUIET
    provider(bff).meanwhile[endpoint] = bff.services.tokens.revocations.revoke_due
    assert come_back(browser, to_callback(browser)) == 302
    assert len(bff.idp.revoked) == 1
    assert refresh(browser) == 200
    assert counters.gained("bff_logins_total")["overtaken"] == 1
    assert bff.active() == 1


def test_a_login_in_the_middle_of_a_revocation_begins_again(bff: Site) -> None:
    browser = bff.logged_in()
    time_out(bff, browser)
    bff.clock.now += QUIET
    pending = to_callback(browser)
    answers: list[Any] = []
    provider(bff).meanwhile["revoke"] = lambda: answers.append(browser.navigate(pending, came_from=ISSUER))
    bff.services.tokens.revocations.revoke_due()
    (answer,) = answers
    assert answer.headers["Location"].startswith(ISSUER)
    again = browser.follow(answer, until=f"{BFF}/auth/callback").headers["Location"]
    assert come_back(browser, again) == 302
    assert refresh(browser) == 200


def test_it_does_not_begin_again_for_ever(bff: Site) -> None:
    """A revocation whose worker was killed stays announced for a while."""
    browser = bff.logged_in()
    time_out(bff, browser)
    ended = bff.services.token_store.ended(
        bff.services.token_store._kv.index_range("token-revocation", 0, 9e9, 1)[0][0][2:]
    )
    assert ended is not None
    bff.services.grants.begin_revocation(ended)
    assert come_back(browser, to_callback(browser)) == 302
    assert browser.verify().status_code == 200


def test_a_code_that_is_refused_for_another_reason_is_a_failure(bff: Site) -> None:
    browser = bff.browser()
    url = to_callback(browser)
    bff.idp._grants.clear()
    assert come_back(browser, url) == 400


class Person(RuleBasedStateMachine):
    """One person with three browsers. alive: browsers whose session must go on, by when it began."""

    key: Key

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.idp = OneGrant(ISSUER, self.key, self.clock)
        self.bff = site(Path(self._folder.name), self.clock, self.key, ENVIRON, {"default": self.idp})
        self.browsers = [self.bff.browser() for _ in range(3)]
        self.numbers = itertools.count()
        self.alive: dict[int, int] = {}
        self.pending: dict[int, str] = {}

    @initialize()
    def first_login(self) -> None:
        assert login(self.browsers[0]).status_code == 302
        self.alive[0] = next(self.numbers)

    @rule(which=BROWSERS)
    def leave_for_the_provider(self, which: int) -> None:
        self.pending[which] = to_callback(self.browsers[which])

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), meanwhile=st.sampled_from(["", "token"]))
    def come_back(self, data: Any, meanwhile: str) -> None:
        which = data.draw(st.sampled_from(sorted(self.pending)))
        if meanwhile:
            self.idp.meanwhile[meanwhile] = self.revoke
        status = come_back(self.browsers[which], self.pending.pop(which))
        self.idp.meanwhile.clear()
        if status == 302:
            self.alive[which] = next(self.numbers)
        else:  # it took too long
            assert status == 400

    @rule(seconds=st.sampled_from([1.0, 30.0, 300.0, QUIET]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds
        for which in self.alive:
            assert self.browsers[which].verify().status_code == 200
        self.bff.services.authenticator.flush()
        self.pending.clear()  # its code is of no use after a minute

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def one_is_left_alone(self, data: Any) -> None:
        idle = data.draw(st.sampled_from(sorted(self.alive)))
        del self.alive[idle]
        for _ in range(7):
            self.time_passes(600.0)

    @rule()
    def sweep(self) -> None:
        self.bff.services.store.sweep()

    @rule()
    def revoke(self) -> None:
        self.bff.services.tokens.revocations.revoke_due()

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def come_back_while_a_revocation_is_under_way(self, data: Any) -> None:
        which = data.draw(st.sampled_from(sorted(self.pending)))
        url, answers = self.pending.pop(which), []
        self.idp.meanwhile["revoke"] = lambda: answers.append(come_back(self.browsers[which], url))
        self.revoke()
        self.idp.meanwhile.clear()
        status = answers[0] if answers else come_back(self.browsers[which], url)
        assert status == 302
        self.alive[which] = next(self.numbers)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), provider_answers=st.booleans())
    def log_out(self, data: Any, provider_answers: bool) -> None:
        """A person's own deed. Where the provider has one grant, it may end sessions that are older than this one."""
        which = data.draw(st.sampled_from(sorted(self.alive)))
        if not provider_answers:
            self.idp.break_endpoint("revoke", html(503))
        assert log_out(self.browsers[which]).status_code == 200
        self.idp.repair()
        ended = self.alive.pop(which)
        self.alive = {other: number for other, number in self.alive.items() if number > ended}
        self.pending.clear()  # a revocation at once may take their codes; they begin again, which is tested above

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def refresh(self, data: Any) -> None:
        which = data.draw(st.sampled_from(sorted(self.alive)))
        assert refresh(self.browsers[which]) == 200

    def teardown(self) -> None:
        try:
            for which in self.alive:
                assert refresh(self.browsers[which]) == 200
        finally:
            self.bff.services.close()
            self._folder.cleanup()


def test_any_order_of_events(rsa: Key) -> None:
    class Alice(Person):
        key = rsa

    run_state_machine_as_test(
        Alice,
        settings=settings(
            examples(50),
            stateful_step_count=20,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
