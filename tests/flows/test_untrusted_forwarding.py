"""TRUSTED_PROXIES forgot a proxy: what it says is not believed, and that is said aloud and counted."""

import logging

import pytest
from werkzeug.test import EnvironBuilder

from tests.flows.counters import Counters
from tests.flows.internet import BFF, Site, SiteFactory

METRIC = "bff_untrusted_forwarding_total"
PROXY = "10.89.0.7"  # a container's: private, and so among METRICS_ALLOWED_CIDRS
FIELDS = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "app.example",
    "X-Forwarded-Uri": "/orders",
    "X-Forwarded-Port": "443",
    "Forwarded": "for=203.0.113.7",
    "X-Real-IP": "203.0.113.7",
    "X-Client-IP": "203.0.113.7",
    "True-Client-IP": "203.0.113.7",
    "CF-Connecting-IP": "203.0.113.7",
    "X-Original-URL": "https://app.example/orders",
    "X-Original-Method": "GET",
}
PATHS = ("/auth/session", "/auth/verify", "/auth/verify/nginx", "/auth/verify/envoy/x", "/health/live", "/api/x", "/no")


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    made: Site = new_site()
    return made


def send(bff: Site, path: str, *, peer: str = PROXY, **fields: str) -> int:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return bff.browser().send("GET", path, headers, peer=peer).status_code


@pytest.mark.parametrize("path", PATHS)
def test_a_forwarding_field_of_a_stranger_is_counted(bff: Site, counters: Counters, path: str) -> None:
    for field, value in FIELDS.items():
        counters.start()
        send(bff, path, **{field: value})
        assert counters.total(METRIC) == 1, field


@pytest.mark.parametrize("field", FIELDS)
def test_it_is_logged_once(bff: Site, caplog: pytest.LogCaptureFixture, field: str) -> None:
    with caplog.at_level(logging.WARNING):
        for path in PATHS:
            send(bff, path, **{field: FIELDS[field]})
    (record,) = [each for each in caplog.records if each.msg == "untrusted_forwarding"]
    said = {name: vars(record)[name] for name in ("network", "setting", "advice", "unlogged")}
    assert (said["network"], said["setting"]) == ("10.89.0.0/24", "TRUSTED_PROXIES")
    assert PROXY not in str(said)
    assert FIELDS[field] not in str(said)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_said_of_others(bff: Site, counters: Counters, path: str) -> None:
    send(bff, path, **FIELDS, peer="127.0.0.1")
    send(bff, path)
    send(bff, path, Via="1.1 proxy", Origin=BFF, peer="203.0.113.7")
    assert counters.total(METRIC) == 0


def test_what_memory_answers_is_counted_too(bff: Site, counters: Counters) -> None:
    made = EnvironBuilder("/auth/verify", environ_base={"REMOTE_ADDR": PROXY})
    environ = {**made.get_environ(), "HTTP_X_FORWARDED_FOR": "203.0.113.9"}
    answered: list[str] = []
    verify = bff.app.extensions["bff_verify"]
    assert verify.at_once(environ, lambda status, _headers: answered.append(status)) is not None
    assert (answered, counters.total(METRIC)) == (["401 Login required"], 1)


@pytest.mark.parametrize("field", FIELDS)
def test_metrics_are_not_for_whoever_comes_through_an_unknown_proxy(bff: Site, field: str) -> None:
    assert send(bff, "/metrics") == 200  # a scraper in the same network
    assert send(bff, "/metrics", **{field: FIELDS[field]}) == 403


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"X-Forwarded-For": "10.0.0.1"}, 200),
        ({"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1"}, 200),
        ({"X-Forwarded-Proto": "http"}, 200),  # a sidecar's own
        ({"X-Forwarded-For": "203.0.113.7"}, 403),
        ({"X-Real-IP": "203.0.113.7"}, 403),
        ({"Forwarded": "for=203.0.113.7"}, 403),  # FORWARDED_HEADER names the other one
    ],
)
def test_nor_for_whoever_a_trusted_one_names_in_a_field_that_is_not_read(
    bff: Site, counters: Counters, fields: dict[str, str], status: int
) -> None:
    assert send(bff, "/metrics", peer="127.0.0.1", **fields) == status
    assert counters.total(METRIC) == 0


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded"])
@pytest.mark.parametrize("field", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP"])
def test_a_trusted_proxy_that_names_clients_in_another_header_is_logged(
    new_site: SiteFactory, counters: Counters, caplog: pytest.LogCaptureFixture, header: str, field: str
) -> None:
    """All its clients have its own address, as if TRUSTED_PROXIES had forgotten it."""
    bff = new_site(FORWARDED_HEADER=header)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            send(bff, "/auth/session", peer="127.0.0.1", **{field: FIELDS[field]})
    said = [(each.msg, vars(each)["setting"]) for each in caplog.records if "forwarding" in each.msg]
    assert said == ([] if field.lower() == header else [("unread_forwarding", "FORWARDED_HEADER")])
    assert "203.0.113.7" not in caplog.text
    assert counters.total(METRIC) == 0
