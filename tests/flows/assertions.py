"""What a refused login must leave behind: one reason, and nothing else."""

from urllib.parse import parse_qs, urlencode, urlsplit

from werkzeug.test import TestResponse

from tests.flows.browser import Browser
from tests.flows.counters import Counters
from tests.flows.internet import BFF, ISSUER, SESSION, Site

ECHO = "echo-me"


def with_query(url: str, **changes: str | None) -> str:
    """The address with parameters set, or with None removed."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()} | changes
    return f"{BFF}/auth/callback?" + urlencode({name: value for name, value in query.items() if value is not None})


def come_back(browser: Browser, url: str) -> TestResponse:
    return browser.navigate(url, came_from=ISSUER)


class Witness:
    def __init__(self, bff: Site, counters: Counters) -> None:
        self.bff = bff
        self.counters = counters

    def refused(
        self, answer: TestResponse, reason: str, *, started: int = 1, status: int = 400, counted: str = ""
    ) -> None:
        """reason: what is told. counted: as, if otherwise."""
        assert answer.status_code == status
        assert reason in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert self.counters.gained("bff_logins_total") == {"started": started, counted or reason: 1}
        assert self.counters.gained("bff_sessions_created_total") == {}
        assert self.bff.active() == 0
        assert SESSION not in "".join(answer.headers.getlist("Set-Cookie"))
        shown = answer.text + str(answer.headers)
        assert [secret for secret in self._secrets(answer) if secret in shown] == []

    def _secrets(self, answer: TestResponse) -> list[str]:
        given = [value for values in parse_qs(urlsplit(answer.request.url).query).values() for value in values]
        cookies = [part.partition("=")[2] for part in answer.request.headers.get("Cookie", "").split("; ")]
        verifiers = [call.form["code_verifier"] for call in self.bff.idp.calls if "code_verifier" in call.form]
        found = [*given, *cookies, *verifiers, *self.bff.idp.issued, self.bff.idp.client.secret, ECHO]
        return [secret for secret in found if len(secret) > 5]
