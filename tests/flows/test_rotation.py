"""BFF_SECRETS rotated over a fleet: whatever a secret sealed or signed at one instance is good at another, in each of
the three steps and between them; and a secret that only one instance has costs nothing."""

from collections.abc import Callable

import pytest
from werkzeug.test import Client, TestResponse

from bff import sealed
from bff.crypto import digest
from bff.events.outbox import LOG
from bff.kv import Batch
from bff.rotation import INDEX, LIFE, PERIOD
from bff.services import longest_life
from bff.sessions.records import hot
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, NEW_KEY, OLD_KEY, SESSION, Site, log_out, proof, to_callback
from tests.flows.issued import logout_token
from tests.flows.token_use import TokenSites, used

OLD, OLD_NEW, NEW_OLD, NEW = OLD_KEY, f"{OLD_KEY},{NEW_KEY}", f"{NEW_KEY},{OLD_KEY}", NEW_KEY
STEPS = {
    "before": (OLD, OLD),
    "old,new comes": (OLD, OLD_NEW),
    "old,new is everywhere": (OLD_NEW, OLD_NEW),
    "new,old comes": (OLD_NEW, NEW_OLD),
    "new,old is everywhere": (NEW_OLD, NEW_OLD),
    "new comes": (NEW_OLD, NEW),
    "new is everywhere": (NEW, NEW),
    "new,old comes too early": (OLD, NEW_OLD),
}
ELSEWHERE = (503, "key_elsewhere")
LOST = "bff_events_lost_total"
SEEN_ELSEWHERE = "bff_sealed_elsewhere_total"


class Fleet:
    """Two instances on one store, which have been there for as long as a secret takes to be everybody's."""

    def __init__(self, token_site: TokenSites, secrets: tuple[str, str]) -> None:
        self.one = token_site(BFF_SECRETS=secrets[0])
        self.other = token_site(BFF_SECRETS=secrets[1], providers=self.one.providers)
        self.go_on(2 * LIFE)

    def go_on(self, seconds: float) -> None:
        for _ in range(int(seconds / PERIOD) + 2):
            for site in (self.one, self.other):
                site.services.rotation.beat()
            self.one.clock.now += PERIOD


def at(site: Site, browser: Browser) -> Browser:
    """Load balancing: the browser's next requests reach this instance."""
    browser.hosts = site.hosts
    return browser


def session(one: Site, other: Site) -> None:
    browser = one.logged_in()
    assert at(other, browser).verify().status_code == 200


def csrf_token(one: Site, other: Site) -> None:
    browser = one.logged_in()
    headers = proof(browser)
    assert at(other, browser).fetch("/auth/logout", method="POST", json={}, headers=headers).status_code == 200


def login_under_way(one: Site, other: Site) -> None:
    browser = one.browser()
    url = to_callback(browser)
    assert at(other, browser).navigate(url, came_from=ISSUER).status_code == 302
    assert browser.verify().status_code == 200


def end_session_ticket(one: Site, other: Site) -> None:
    browser = one.logged_in()
    url = log_out(browser).get_json()["logout_url"]
    answer = at(other, browser).navigate(url.removeprefix(BFF))
    assert answer.headers["Location"].startswith(ISSUER)


def tokens(one: Site, other: Site) -> None:
    browser = one.logged_in()
    token = used(browser)
    assert token is not None
    assert used(at(other, browser)) == token


def exchanged_token(one: Site, other: Site) -> None:
    browser = one.logged_in()
    token = used(browser, "billing")
    assert token is not None
    assert used(at(other, browser), "billing") == token


def own_token(one: Site, other: Site) -> None:
    browser = one.logged_in()
    token = used(browser, "reports")
    asked = len(one.idp.calls)
    assert used(at(other, browser), "reports") == token
    assert len(one.idp.calls) == asked, "the fleet's is good here"


def refresh(one: Site, other: Site) -> None:
    browser = one.logged_in()
    before = used(browser)
    one.clock.now += 3600 - 100
    after = used(at(other, browser))
    assert after != before
    assert used(at(one, browser)) == after


def events(one: Site, other: Site) -> None:
    one.logged_in()
    one.services.events.outbox.flush()
    assert waiting(one) > 0
    assert delivered(other)


def waiting(site: Site) -> int:
    return site.store.inner.log_length(LOG)


def delivered(site: Site) -> bool:
    """Whether nothing is left when this instance has had its turn."""
    for _ in range(3):
        site.services.events.relay.run()
    site.services.events.relay.close()
    return not waiting(site)


def everywhere(one: Site, other: Site) -> None:
    first = one.logged_in()
    assert log_out(other.logged_in(), everywhere=True).status_code == 200
    assert first.verify().status_code == 401


def backchannel(one: Site, other: Site) -> None:
    one.idp.claims = {"sub": "alice", "sid": "s1"}
    browser = one.logged_in()
    body = {"logout_token": logout_token(other.idp, sid="s1")}
    assert Client(other.app).post("/auth/backchannel-logout", base_url=BFF, data=body).status_code == 200
    assert browser.verify().status_code == 401


def revocation(one: Site, other: Site) -> None:
    one.logged_in()
    revoked = len(one.idp.revoked)
    one.clock.now += 9 * 3600
    other.services.store.sweep()
    one.clock.now += 3600
    other.services.tokens.revocations.revoke_due()
    assert len(one.idp.revoked) == revoked + 1


KINDS: list[Callable[[Site, Site], None]] = [
    session, csrf_token, login_under_way, end_session_ticket, tokens, exchanged_token, own_token, refresh, events,
    everywhere, backchannel, revocation,
]  # fmt: skip


@pytest.mark.parametrize("back", [False, True], ids=["to the other", "and back"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("step", STEPS)
def test_what_one_seals_is_good_at_the_other(
    token_site: TokenSites, counters: Counters, step: str, kind: Callable[[Site, Site], None], back: bool
) -> None:
    fleet = Fleet(token_site, STEPS[step])
    kind(*((fleet.other, fleet.one) if back else (fleet.one, fleet.other)))
    assert counters.gained(LOST) == {}
    assert counters.gained(SEEN_ELSEWHERE) == {}


# A secret that another instance lacks, in spite of all.


@pytest.fixture
def apart(token_site: TokenSites) -> Fleet:
    """As after a rotation in one step: no secret is everybody's."""
    return Fleet(token_site, (OLD, NEW))


def refusal(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json(force=True)["code"]


def cleared(answer: TestResponse) -> bool:
    return any(SESSION in cookie for cookie in answer.headers.getlist("Set-Cookie"))


def test_a_session_of_the_other_is_neither_ended_nor_denied(apart: Fleet, counters: Counters) -> None:
    browser = apart.one.logged_in()
    at(apart.other, browser)
    answers = [browser.verify(), *(browser.fetch(path) for path in ("/auth/session", "/auth/csrf"))]
    for answer in answers:
        assert (answer.status_code, cleared(answer), answer.headers["Retry-After"]) == (503, False, "2")
    assert refusal(browser.fetch("/auth/session")) == ELSEWHERE
    assert at(apart.one, browser).verify().status_code == 200
    assert counters.gained(SEEN_ELSEWHERE)["session-hot"] == 4


def test_it_is_said_once(apart: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "_said", set())
    browser = at(apart.other, apart.one.logged_in())
    for _ in range(5):
        browser.verify()
    said = [(record.message, record.__dict__.get("kind")) for record in caplog.records if record.levelno > 20]
    assert said == [("key_elsewhere", "session-hot")]


def test_a_csrf_token_of_the_other_is_no_forgery(apart: Fleet, counters: Counters) -> None:
    """Its session is one that both can read."""
    browser = apart.one.logged_in()
    headers = proof(browser)
    apart.one.services.rotation._keys.shared.writer = 0
    key = digest(str(browser.cookie(SESSION) and browser.cookie(SESSION).value))  # type: ignore[union-attr]
    known = apart.one.services.store.find(key)
    assert known is not None
    apart.other.store.inner.set(hot(key), apart.other.services.records.sealed(known))
    answer = at(apart.other, browser).fetch("/auth/logout", method="POST", json={}, headers=headers)
    assert refusal(answer) == ELSEWHERE
    assert counters.gained("bff_csrf_violations_total") == {}


def test_a_login_of_the_other_can_go_on_there(apart: Fleet) -> None:
    browser = apart.one.browser()
    url = to_callback(browser)
    answer = at(apart.other, browser).navigate(url, came_from=ISSUER)
    assert answer.status_code == 503
    assert answer.headers.getlist("Set-Cookie") == []
    assert at(apart.one, browser).navigate(url, came_from=ISSUER).status_code == 302


def test_a_logout_at_the_provider_can_go_on_there(apart: Fleet) -> None:
    browser = apart.one.logged_in()
    url = log_out(browser).get_json()["logout_url"].removeprefix(BFF)
    assert at(apart.other, browser).navigate(url).status_code == 503
    assert at(apart.one, browser).navigate(url).headers["Location"].startswith(ISSUER)


def test_events_of_the_other_wait_for_it(apart: Fleet, counters: Counters) -> None:
    apart.one.logged_in()
    apart.one.services.events.outbox.flush()
    before = waiting(apart.one)
    assert not delivered(apart.other)
    assert waiting(apart.one) == before
    assert delivered(apart.one)
    assert counters.gained(LOST) == {}


def test_a_session_of_the_other_that_is_over_is_for_the_other_to_end(apart: Fleet, counters: Counters) -> None:
    apart.one.logged_in()
    apart.one.clock.now += 9 * 3600
    apart.go_on(0)
    assert apart.other.services.store.sweep() == 0
    assert apart.one.services.store.sweep() == 1
    assert counters.gained("bff_sessions_destroyed_total") == {"idle_timeout": 1}


def test_tokens_of_the_other_are_for_the_other_to_revoke(apart: Fleet) -> None:
    apart.one.logged_in()
    apart.one.clock.now += 9 * 3600
    apart.one.services.store.sweep()
    apart.one.clock.now += 3600
    apart.go_on(0)
    apart.other.services.tokens.revocations.revoke_due()
    assert apart.one.idp.revoked == []
    apart.one.clock.now += 300
    apart.one.services.tokens.revocations.revoke_due()
    assert len(apart.one.idp.revoked) == 1


def test_logging_out_everywhere_leaves_none_behind_unsaid(apart: Fleet) -> None:
    """One session is indexed under both instances' secrets, as during a rotation."""
    both = at(apart.other, apart.other.logged_in())
    first = apart.one.logged_in()
    key = digest(str(first.cookie(SESSION) and first.cookie(SESSION).value))  # type: ignore[union-attr]
    (name,) = apart.other.services.records.of_user("default", "alice")
    apart.other.store.inner.execute(Batch().index_add(name, key, apart.one.clock.now))
    answer = log_out(both, everywhere=True)
    assert refusal(answer) == ELSEWHERE
    assert both.verify().status_code == 200, "it can be asked for again"


def test_what_nobody_can_open_any_more_is_unknown(apart: Fleet) -> None:
    browser = at(apart.other, apart.one.logged_in())
    apart.one.clock.now += LIFE + 1
    apart.other.services.rotation.beat()
    assert browser.verify().headers["X-Denied-Reason"] == "unauthenticated"


def test_while_the_store_does_not_answer_nothing_is_guessed(apart: Fleet) -> None:
    apart.other.clock.now += 2
    apart.other.store.down = True
    assert apart.other.services.rotation.elsewhere("00000000")


# Which secret seals, and what an operator is told.


def step(site: Site) -> str:
    shown: dict[str, str] = site.browser().fetch("/health").get_json()["secrets"]
    return shown["step"]


def keys(site: Site) -> list[tuple[bool, bool, int | None]]:
    """Of each: whether it is everywhere, whether it seals, and when it may go."""
    found = site.browser().fetch("/health").get_json()["secrets"]["keys"]
    return [(key["everywhere"], key["seals"], key["droppable_in_seconds"]) for key in found]


def test_a_rotation_as_health_tells_it(token_site: TokenSites) -> None:
    fleet = Fleet(token_site, (OLD, OLD))
    assert (step(fleet.one), keys(fleet.one)) == ("settled", [(True, True, None)])

    fleet = Fleet(token_site, (OLD_NEW, OLD))
    assert (step(fleet.one), step(fleet.other)) == ("rolling", "rolling")
    assert [everywhere for everywhere, _, _ in keys(fleet.one)] == [True, False]
    fleet = Fleet(token_site, (OLD_NEW, OLD_NEW))
    assert (step(fleet.one), [seals for _, seals, _ in keys(fleet.one)]) == ("added", [True, False])

    fleet = Fleet(token_site, (OLD_NEW, NEW_OLD))
    assert step(fleet.one) == "rolling"
    fleet = Fleet(token_site, (NEW_OLD, NEW_OLD))
    assert (step(fleet.one), [seals for _, seals, _ in keys(fleet.one)]) == ("waiting", [True, False])
    life = longest_life(fleet.one.services.settings)
    ((_, _, none), (_, _, left)) = keys(fleet.one)
    assert (none, 0 < (left or 0) <= life + 60) == (None, True)
    fleet.one.clock.now += life
    fleet.go_on(60)
    assert (step(fleet.one), keys(fleet.one)[1]) == ("droppable", (True, False, 0))

    fleet = Fleet(token_site, (NEW, NEW))
    assert step(fleet.one) == "settled"


def test_a_secret_that_came_too_early_seals_when_all_have_it(token_site: TokenSites) -> None:
    fleet = Fleet(token_site, (NEW_OLD, OLD))
    assert [seals for _, seals, _ in keys(fleet.one)] == [False, True]
    for _ in range(int(LIFE / PERIOD) + 1):  # the other has ended
        fleet.one.clock.now += PERIOD
        fleet.one.services.rotation.beat()
    assert fleet.one.services.rotation._keys.shared.writer == 1, "a report may have been missed"
    for _ in range(int(LIFE / PERIOD) + 1):
        fleet.one.clock.now += PERIOD
        fleet.one.services.rotation.beat()
    assert fleet.one.services.rotation._keys.shared.writer == 0


def test_events_that_wait_keep_their_secret(token_site: TokenSites) -> None:
    fleet = Fleet(token_site, (OLD, OLD))
    fleet.one.logged_in()
    fleet.one.services.events.outbox.flush()
    fleet.go_on(PERIOD)
    fleet = Fleet(token_site, (NEW_OLD, NEW_OLD))
    fleet.one.clock.now += longest_life(fleet.one.services.settings) + 120
    fleet.go_on(0)
    assert (step(fleet.one), keys(fleet.one)[1]) == ("waiting", (True, False, None))
    assert delivered(fleet.one)
    fleet.go_on(PERIOD)
    assert (step(fleet.one), keys(fleet.one)[1]) == ("droppable", (True, False, 0))


def test_a_fleet_of_equal_instances_is_one_entry(token_site: TokenSites) -> None:
    fleet = Fleet(token_site, (OLD_NEW, OLD_NEW))
    assert len(fleet.one.store.inner.index_range(INDEX, 0, float("inf"), 10)) == 1
    assert OLD not in str(fleet.one.store.inner.index_range(INDEX, 0, float("inf"), 10))
