"""`python -m bff.admin` on the store of a BFF that serves meanwhile."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bff.admin.__main__ import main
from bff.errors import StoreTimeout, StoreUnavailable
from bff.events.model import EventType
from tests.clock import Clock
from tests.contract.backends import eventually
from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, NEW_KEY, OLD_KEY, SESSION, Site, SiteFactory, balanced
from tests.flows.registration import SECRET

DESTROYED = "bff_sessions_destroyed_total"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def content(self) -> Any:
        return json.loads(self.out)


Admin = Callable[..., Ran]


@pytest.fixture
def admin(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> Admin:
    """Runs a command with the settings of the fixture `bff`, but for those that a test gives."""

    def run(*arguments: str, **environ: str) -> Ran:
        settings = {
            "ENVIRONMENT": "staging",
            "BFF_BASE_URL": BFF,
            "BFF_SECRETS": NEW_KEY,
            "BFF_DATA_DIR": str(tmp_path),
            "BFF_CONFIG_DIR": str(tmp_path / "config"),
            "OIDC_ISSUER": ISSUER,
            "AUTH_CLIENT_ID": "bff",
            "AUTH_CLIENT_SECRET": SECRET,
            "TRUSTED_PROXIES": "127.0.0.0/8,::1",
        }
        capsys.readouterr()
        code = main(arguments, {**settings, **environ}, clock)
        return Ran(code, *capsys.readouterr())

    return run


def of(bff: Site, sub: str) -> Browser:
    bff.idp.user["sub"] = sub
    return bff.logged_in()


def own(browser: Browser) -> str:
    return str(browser.verify().headers["X-Session-ID"])


def test_a_table_of_sessions(bff: Site, admin: Admin, clock: Clock) -> None:
    alice = of(bff, "alice")
    clock.now += 60
    bob = of(bff, "bob")
    ran = admin("sessions")
    heading, first, second = ran.out.splitlines()
    assert heading.split() == ["ID", "USER", "IDP", "DEVICE", "NETWORK", "SINCE", "LAST", "SEEN", "EXPIRES", "AT"]
    assert first.startswith(own(bob))
    assert second.startswith(own(alice))
    for line in (first, second):
        assert "default  Firefox on Linux  203.0.113.0/24  2027-01-15 08:" in line
    assert (ran.code, ran.err) == (0, "2 sessions.\n")


def test_the_same_for_programs(bff: Site, admin: Admin, clock: Clock) -> None:
    browser = of(bff, "alice")
    ran = admin("sessions", "--json")
    began = int(clock.now)
    assert ran.content == {
        "sessions": [
            {
                "id": own(browser), "user": bff.services.audit.pseudonym("alice"), "idp": "default",
                "device": "Firefox on Linux", "network": "203.0.113.0/24",
                "since": began, "last_seen": began, "expires_at": began + 3600,
            }
        ]
    }  # fmt: skip


def test_users_are_named_only_where_that_is_asked_for(bff: Site, admin: Admin) -> None:
    of(bff, "alice")
    for arguments in (["sessions"], ["sessions", "--json"], ["sessions", "--user", "alice"], ["stats"]):
        assert "alice" not in admin(*arguments).out
    assert " alice " in admin("sessions", "--show-users").out
    assert admin("sessions", "--show-users", "--json").content["sessions"][0]["sub"] == "alice"


def test_no_command_shows_what_opens_something(bff: Site, admin: Admin) -> None:
    browser = of(bff, "alice")
    cookie = browser.cookie(SESSION)
    (session,) = bff.services.store.of_user("default", "alice")
    assert cookie is not None
    reference = own(browser)
    said = "".join(
        ran.out + ran.err
        for ran in (
            admin("stats"), admin("stats", "--json"), admin("sessions", "--show-users"),
            admin("sessions", "--json"), admin("revoke-session", reference),
        )
    )  # fmt: skip
    assert reference in said
    for secret in (cookie.value, session.key, NEW_KEY, SECRET, session.binding.agent, *bff.idp.issued):
        assert secret not in said


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ["carol", "bob", "alice", "alice"]),
        (["--limit", "2"], ["carol", "bob"]),
        (["--user", "alice"], ["alice", "alice"]),
        (["--user", "alice", "--limit", "1"], ["alice"]),
        (["--user", "alice", "--idp", "default"], ["alice", "alice"]),
        (["--user", "alice", "--idp", "another"], []),
        (["--idp", "default", "--limit", "3"], ["carol", "bob", "alice"]),
        (["--idp", "another"], []),
        (["--user", "nobody"], []),
        (["--user", "*"], []),
    ],
)
def test_which_sessions(bff: Site, admin: Admin, clock: Clock, arguments: list[str], found: list[str]) -> None:
    for sub in ("alice", "alice", "bob", "carol"):
        of(bff, sub)
        clock.now += 1
    ran = admin("sessions", "--json", "--show-users", *arguments)
    assert [row["sub"] for row in ran.content["sessions"]] == found
    assert ran.code == (0 if found else 1)


def test_a_user_is_logged_out_everywhere(bff: Site, admin: Admin, counters: Counters) -> None:
    alice, bob = [of(bff, "alice") for _ in range(3)], of(bff, "bob")
    references = {own(browser) for browser in alice}
    ran = admin("revoke-user", "alice", "--json")
    assert (ran.code, ran.err) == (0, "3 sessions revoked.\n")
    assert {row["id"] for row in ran.content["revoked"]} == references
    refused = [browser.verify() for browser in alice]
    assert [answer.headers["X-Denied-Reason"] for answer in refused] == ["session_ended"] * 3
    assert bob.verify().status_code == 200
    assert admin("revoke-user", "alice").code == 1
    bff.services.store.sweep()
    assert counters.gained(DESTROYED) == {"revoked": 3}
    assert balanced(bff, counters)


def test_a_session_is_ended_by_its_reference(bff: Site, admin: Admin, counters: Counters) -> None:
    one, other = of(bff, "alice"), of(bff, "alice")
    ran = admin("revoke-session", own(one))
    assert (ran.code, ran.err) == (0, "1 session revoked.\n")
    assert [one.verify().status_code, other.verify().status_code] == [401, 200]
    bff.services.store.sweep()
    assert counters.gained(DESTROYED) == {"revoked": 1}
    again = admin("revoke-session", "0" * 24)
    assert (again.code, again.out, again.err) == (1, "", "0 sessions revoked.\n")


def test_the_events_name_an_operator_and_belong_together(bff: Site, admin: Admin) -> None:
    references = {own(of(bff, "alice")) for _ in range(2)}
    admin("revoke-user", "alice")
    told, ended = bff.events(EventType.SESSION_REVOKED), bff.events(EventType.SESSION_ENDED)
    assert {event["data"]["session"] for event in told} == references
    assert {event["data"]["by"] for event in told} == {"operator"}
    assert {(event["data"]["reason"], event["data"]["by"]) for event in ended} == {("revoked", "operator")}
    assert len({event["correlationid"] for event in (*told, *ended)}) == 1


def test_a_running_server_revokes_the_tokens_at_the_provider(bff: Site, admin: Admin) -> None:
    for _ in range(2):
        of(bff, "alice")
    admin("revoke-user", "alice")
    assert bff.idp.revoked == [], "the operator's process calls nobody"
    assert admin("stats", "--json").content["revocations"] == 2
    bff.services.tokens.revocations.revoke_due()
    assert len(bff.idp.revoked) == 2
    assert admin("stats", "--json").content["revocations"] == 0


def test_workers_hear_of_it(new_site: SiteFactory, admin: Admin) -> None:
    bff = new_site(start=True)
    assert eventually(lambda: bff.services.cache.truthful)
    browser = of(bff, "alice")
    reference = own(browser)
    bff.store.forget()
    assert browser.verify().status_code == 200
    assert bff.store.reads == [], "it is cached"
    admin("revoke-session", reference)
    assert eventually(lambda: browser.verify().status_code == 401)


def test_stats(bff: Site, admin: Admin, clock: Clock) -> None:
    for sub in ("alice", "alice", "bob"):
        of(bff, sub)
    log = bff.services.kv.log_length("events")
    numbers = admin("stats", "--json").content
    assert re.fullmatch(r"SqliteStore\('.*store.sqlite3'\)", numbers.pop("store"))
    assert numbers == {
        "sessions": 3, "users": 2, "idps": {"default": 3}, "unreadable": 0,
        "outbox": log, "revocations": 0, "uncounted": 0,
    }  # fmt: skip
    clock.now += 4000
    assert admin("stats", "--json").content["sessions"] == 0, "though nobody has swept them"
    lines = admin("stats").out.splitlines()
    assert lines[1] == "sessions     0"


def test_sessions_of_another_secret_are_counted_and_not_shown(bff: Site, admin: Admin) -> None:
    of(bff, "alice")
    numbers = admin("stats", "--json", BFF_SECRETS=OLD_KEY)
    assert (numbers.content["sessions"], numbers.content["unreadable"]) == (1, 1)
    assert admin("sessions", BFF_SECRETS=OLD_KEY).code == 1


def test_what_a_provider_made_up_moves_no_cursor(bff: Site, admin: Admin) -> None:
    of(bff, "eve\x1b[2J\u202e\n")
    assert "eve?[2J??" in admin("sessions", "--show-users").out


def test_secrets_come_from_files_as_the_servers_do(bff: Site, admin: Admin, tmp_path: Path) -> None:
    of(bff, "alice")
    (tmp_path / "secrets").write_text(NEW_KEY)
    assert admin("sessions", BFF_SECRETS="", BFF_SECRETS_FILE=str(tmp_path / "secrets")).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["sessions", "--limit", "0"], ["sessions", "--limit", "x"], ["sessions", "--limit", "10001"],
        ["sessions", "--limit", "-1"], ["revoke-user"], ["revoke-session"], ["revoke-session", "x"],
        ["revoke-session", "0" * 64], ["revoke-session", "G" * 24], ["stats", "--user", "x"], ["flush"],
    ],
)  # fmt: skip
def test_wrong_arguments(admin: Admin, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        admin(*arguments)
    assert ended.value.code == 2


def test_wrong_settings(bff: Site, admin: Admin) -> None:
    ran = admin("stats", BFF_SECRETS="", SESSION_LIFETIME="soon")
    assert ran.code == 78
    assert "BFF_SECRETS: " in ran.err
    assert "SESSION_LIFETIME: " in ran.err


@pytest.mark.parametrize(
    "arguments",
    [["stats"], ["sessions"], ["sessions", "--user", "a"], ["revoke-user", "a"], ["revoke-session", "0" * 24]],
)
def test_a_store_that_is_away(admin: Admin, arguments: list[str]) -> None:
    ran = admin(*arguments, REDIS_URL="redis://:hunter2@127.0.0.1:1/0")
    assert (ran.code, ran.out) == (69, "")
    assert "does not answer" in ran.err
    assert "hunter2" not in ran.err


def test_a_store_that_was_never_there(admin: Admin, tmp_path: Path) -> None:
    """A wrong BFF_DATA_DIR must not look like a fleet without sessions."""
    ran = admin("stats", BFF_DATA_DIR=str(tmp_path / "elsewhere"))
    assert (ran.code, ran.out) == (69, "")
    assert "BFF_DATA_DIR" in ran.err
    assert not (tmp_path / "elsewhere" / "store.sqlite3").exists()


@pytest.mark.parametrize(("error", "code"), [(StoreUnavailable, 69), (StoreTimeout, 75)])
def test_a_store_that_fails_in_the_midst(
    bff: Site, admin: Admin, monkeypatch: pytest.MonkeyPatch, error: type[StoreUnavailable], code: int
) -> None:
    alice = of(bff, "alice")

    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("bff.sessions.store.SessionStore.end_uncounted", fails)
    assert admin("revoke-user", "alice").code == code
    assert alice.verify().status_code == 200
