"""The people of the soak: each has browsers, two providers and habits, and writes into the ledger what it does."""

import itertools
import random
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.chaos.soak_ledger import Ledger, Life
from tests.chaos.soak_site import TIMEOUT, Answer, Browser, Site
from tests.flows.issued import logout_token
from tests.peers.single_sign_on import LOGIN, PERSON, SingleSignOn

ATTEMPTS = 6
CSRF = "_eid_csrf_v1"
VERIFY = "/auth/verify@soak"
SAVED_WITHIN = 5.0
"""Seconds after which a refreshed token and its claims are in every worker, unless a fault was near."""
HABITS = {
    "verify": 90, "refresh": 6, "stay away": 4, "log in again": 3, "log out": 3, "be logged out by sid": 2,
    "be logged out by sub": 1, "get another role": 4, "lose the grant": 1,
}  # fmt: skip


class Person:
    def __init__(
        self, name: str, site: Site, ledger: Ledger, *, browsers: int, idle_timeout: float, pace: float
    ) -> None:
        """pace: seconds between two requests, on average."""
        self.name = name
        self._site = site
        self._ledger = ledger
        self._idle_timeout = idle_timeout
        self._pace = pace
        self._browsers = [Browser() for _ in range(browsers)]
        self._chance = random.Random(name)
        self._pages = itertools.count()  # a page that is asked for again and again is taken for a circle
        self._role_changed_at: dict[str, float] = {}
        self._acts: dict[str, Callable[[Browser, Life], float | None]] = {
            "verify": self._verify, "refresh": self._refresh, "stay away": self._stay_away,
            "log in again": self._log_in_again, "log out": self._log_out, "be logged out by sid": self._by_sid,
            "be logged out by sub": self._by_sub, "get another role": self._another_role,
            "lose the grant": self._lose_the_grant,
        }  # fmt: skip

    def step(self) -> float:
        """Do something; seconds until the next step."""
        browser = self._chance.choice(self._browsers)
        if browser.life is None:
            if browser.over is not None:
                self._check_over(browser, browser.over)
            self._log_in(browser)
            return self._pause()
        (habit,) = self._chance.choices(list(HABITS), list(HABITS.values()))
        return self._acts[habit](browser, browser.life) or self._pause()

    def look_again(self) -> None:
        """At the end: whatever the ledger takes to live does, and says what its provider says now."""
        for browser in self._browsers:
            if browser.life is not None:
                self._refresh(browser, browser.life)
            if browser.life is not None:
                self._verify(browser, browser.life)

    def _pause(self) -> float:
        return self._chance.uniform(0, 2 * self._pace)

    def _provider(self, life: Life) -> SingleSignOn:
        return self._ledger.providers[life.provider]

    # A session's use.

    def _verify(self, browser: Browser, life: Life) -> None:
        asked_at = time.time()
        answer = self._site.ask("GET", VERIFY, browser.cookies)
        if not self._lives(browser, life, answer, asked_at):
            return
        assert answer is not None
        if answer.headers.get("X-User-ID") != f"auth:account:{life.provider}:{self.name}":
            self._ledger.wrong(f"{self.name} was taken for {answer.headers.get('X-User-ID')}")
        self._check_role(life, answer.headers.get("X-User-Roles", ""), asked_at)

    def _refresh(self, browser: Browser, life: Life) -> None:
        asked_at = time.time()
        answer = self._post(browser, "/auth/tokens/refresh", "{}")
        self._lives(browser, life, answer, asked_at)

    def _post(self, browser: Browser, path: str, body: str) -> Answer | None:
        if CSRF not in browser.cookies:
            issued = self._site.ask("GET", "/auth/csrf", browser.cookies)
            if issued is None or issued.status != 200:
                return issued
            browser.keep(issued)
        proof = {"X-CSRF-Token": browser.cookies[CSRF], "Origin": self._site.base_url}
        more = {"Content-Type": "application/json", "Accept": "application/json", "Sec-Fetch-Site": "same-origin"}
        return self._site.ask("POST", path, browser.cookies, body, **proof, **more)

    def _lives(self, browser: Browser, life: Life, answer: Answer | None, asked_at: float) -> bool:
        """Whether the answer is a session's; what it says of the session's end is compared with the ledger."""
        now = time.time()
        status = answer.status if answer else 0
        self._ledger.count(f"answer {status}")
        if status == 401:
            self._ledger.ended(life, now)
            self._gone(browser)
        elif status == 200:
            idle = asked_at - max(life.began_at, life.asked_at)
            if idle > self._idle_timeout and not self._ledger.near(asked_at, "failover"):
                self._ledger.wrong(f"lives after {idle:.1f} s: {self._ledger.told(life, now)}")
            life.uses.append(now)
        elif status not in (0, 502, 503):
            self._ledger.wrong(f"{status} {answer.code if answer else ''}: {self._ledger.told(life, now)}")
        life.asked_at = now
        return status == 200

    def _check_role(self, life: Life, roles: str, asked_at: float) -> None:
        """As the provider said it at the latest refresh, a few seconds ago or more."""
        provider = self._provider(life)
        issued_at, changed_at = provider.issued_at(life.sid), self._role_changed_at.get(life.provider, 0.0)
        settled = changed_at < issued_at < asked_at - SAVED_WITHIN
        right = provider.role(self.name) in roles.split(",")
        if settled and not right and not self._ledger.near(issued_at, "kill", "failover"):
            self._ledger.wrong(f"has {roles}, not {provider.role(self.name)}: {self._ledger.told(life, asked_at)}")

    def _gone(self, browser: Browser) -> None:
        browser.life = None
        browser.cookies.clear()

    # Its ends.

    def _stay_away(self, browser: Browser, life: Life) -> float:
        self._ledger.count("stays away")
        return self._idle_timeout * 1.1 + 2  # with both browsers

    def _log_out(self, browser: Browser, life: Life) -> None:
        life.acts["logout"] = time.time()
        answer = self._post(browser, "/auth/logout", "{}")
        self._end(browser, life, answer, (200,))

    def _by_sid(self, browser: Browser, life: Life) -> None:
        """And every other session that began in the provider's."""
        self._logged_out_by_provider(browser, life, {"sid": life.sid, "sub": self.name}, life.sid)

    def _by_sub(self, browser: Browser, life: Life) -> None:
        self._logged_out_by_provider(browser, life, {"sub": self.name}, "")

    def _logged_out_by_provider(self, browser: Browser, life: Life, claims: dict[str, str], sid: str) -> None:
        for other in self._ledger.of(self.name, life.provider):
            if sid in ("", other.sid):
                other.acts["backchannel"] = time.time()
        for each in self._browsers:
            each.logins.pop(life.provider, None)
        token = logout_token(self._provider(life), None, **claims)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._site.ask("POST", "/auth/backchannel-logout", {}, f"logout_token={token}", **form)
        self._end(browser, life, answer, (200,))

    def _end(self, browser: Browser, life: Life, answer: Answer | None, right: tuple[int, ...]) -> None:
        """Once it was confirmed, no worker admits the session any more."""
        life.asked_at = time.time()
        status = answer.status if answer else 0
        self._ledger.count(f"end {status}")
        if status in right:
            browser.over, browser.life = life, None
        elif status == 401:
            self._gone(browser)
        elif status not in (0, 502, 503):
            self._ledger.wrong(f"an end was answered {status} {answer.code if answer else ''}")

    def _check_over(self, browser: Browser, life: Life) -> None:
        answer = self._site.ask("GET", VERIFY, browser.cookies)
        ended_at = max(life.acts.values())
        if answer is not None and answer.status == 200 and not self._ledger.near(ended_at, "failover"):
            self._ledger.wrong(f"lives on: {self._ledger.told(life, time.time())}")
        browser.over = None
        self._gone(browser)

    def _another_role(self, browser: Browser, life: Life) -> None:
        self._ledger.count("another role")
        self._role_changed_at[life.provider] = time.time() + 0.1
        self._provider(life).change_role(self.name)

    def _lose_the_grant(self, browser: Browser, life: Life) -> None:
        self._ledger.count("lost grant")
        self._provider(life).revoke_grant(self.name)

    # Its beginning.

    def _log_in_again(self, browser: Browser, life: Life) -> None:
        life.acts["login"] = time.time()
        self._log_in(browser)
        if browser.life is life:  # it failed, for a moment, and the former session goes on
            self._ledger.count("another login failed")

    def _log_in(self, browser: Browser) -> None:
        browser.cookies.pop(CSRF, None)
        alias = self._chance.choice(list(self._ledger.providers))
        path: str | None = f"/auth/login?idp={alias}&return_to=/{next(self._pages)}"
        for _ in range(ATTEMPTS):
            answer = self._site.ask("GET", path or "", browser.cookies, **_NAVIGATION)
            status = answer.status if answer else 0
            if answer is not None:
                browser.keep(answer)
            location = answer.headers.get("Location", "") if answer else ""
            if status != 302:
                self._not_logged_in(status, answer)
                return
            if not location.startswith(self._ledger.providers[alias].issuer):
                self._logged_in(browser, alias)
                return
            path = self._at_provider(browser, alias, location)
        self._ledger.wrong(f"{self.name} was sent to {alias} again and again")

    def _at_provider(self, browser: Browser, alias: str, url: str) -> str:
        """Single sign-on: it answers at once. The callback's path."""
        cookies = {PERSON: self.name, **({LOGIN: browser.logins[alias]} if alias in browser.logins else {})}
        answer = requests.get(url, cookies=cookies, allow_redirects=False, timeout=TIMEOUT)
        browser.logins[alias] = answer.cookies[LOGIN]
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def _not_logged_in(self, status: int, answer: Answer | None) -> None:
        self._ledger.count(f"login {status}")
        now = time.time()
        if status not in (0, 502, 503) and not self._ledger.near(now, "kill", "failover"):
            self._ledger.wrong(f"a login of {self.name} failed: {status} {answer.body[:300] if answer else ''!r}")

    def _logged_in(self, browser: Browser, alias: str) -> None:
        began_at = time.time()
        for _ in range(ATTEMPTS):
            answer = self._site.ask("GET", VERIFY, browser.cookies)
            if answer is not None and answer.status == 200:
                reference = answer.headers["X-Session-ID"]
                browser.life = Life(reference, self.name, alias, browser.logins[alias], began_at)
                self._ledger.began(browser.life)
                return
            if answer is not None and answer.status == 401 and not self._ledger.near(began_at, "failover"):
                self._ledger.wrong(f"{self.name} was logged in at {alias} and then was not: {answer.code}")
                break
            time.sleep(0.2)  # the pod or the store is away for a moment
        self._gone(browser)


_NAVIGATION: dict[str, Any] = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}
