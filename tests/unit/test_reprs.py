"""What a value shows of itself in a traceback, a debugger or a careless log line: no secret, and nobody's data."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import bff
from bff.http.client import Response, _Request
from bff.http.response_head import parse
from bff.sessions.authenticator import ClientFingerprint

HIDDEN = frozenset({
    "access_token", "address", "arn", "bearer", "body", "claims", "client_key", "client_secret", "cookie",
    "cookie_value", "dpop_key", "email", "fields", "form", "headers", "id_token", "jti", "key", "member", "message",
    "nonce", "parameters", "permissions", "raw", "refresh_token", "roles", "sealed", "secret", "secrets", "sid",
    "signature", "signed", "state", "sub", "user_agent", "value", "verifier",
})  # fmt: skip
"""Names of fields that hold such things. One that is called so, and holds none, stands in ORDINARY."""
ORDINARY = {
    "bff.beacon.reports.BeaconEvent": {"value"},  # a measurement that is counted
    "bff.events.model.Declaration": {"fields"},  # of an event's data, by name
    "bff.events.outbox._Waiting": {"sealed"},  # encrypted
    "bff.http.tls.CertificateFiles": {"key"},  # where it is
    "bff.observability.multiprocess.keys.Key": {"raw"},  # a series' name
    "bff.proxy.challenges.Challenge": {"parameters"},  # of a WWW-Authenticate, which is for everybody
    "bff.rotation.Use": {"key"},  # a fingerprint, which operators compare
    "bff.settings.model.ClaimNames": {"email", "permissions", "roles"},  # what providers call them
    "bff.settings.model.ProviderSettings": {"claims"},
    "bff.settings.model.VerifyProfile": {"headers"},  # by name
}


class Shown:
    """Stands in a field, and shows itself by the field's name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


def values() -> Iterator[type[Any]]:
    """Every class of ours that writes its own repr from its fields."""
    for module in pkgutil.walk_packages(bff.__path__, "bff."):
        if module.name.startswith("bff.dev") or module.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(module.name)).values():
            ours = inspect.isclass(kind) and kind.__module__ == module.name
            if ours and (dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")):
                yield kind


def shown(kind: type[Any]) -> set[str]:
    """The fields whose values are in the repr."""
    names = getattr(kind, "_fields", None) or [field.name for field in dataclasses.fields(kind)]
    marks = {name: Shown(name) for name in names}
    if hasattr(kind, "_fields"):
        made = tuple.__new__(kind, tuple(marks.values()))
    else:
        made = object.__new__(kind)
        for name, mark in marks.items():
            object.__setattr__(made, name, mark)
    try:
        text = repr(made)
    except AttributeError:  # it writes a repr of its own, from what a field's value has
        return set()
    return {name for name, mark in marks.items() if repr(mark) in text}


def test_no_value_shows_what_is_secret_or_somebodys() -> None:
    found = {f"{kind.__module__}.{kind.__qualname__}": shown(kind) & HIDDEN for kind in values()}
    assert len(found) > 90
    assert {kind: names for kind, names in found.items() if names} == ORDINARY


def test_the_test_sees_what_is_shown() -> None:
    made = dataclasses.make_dataclass("Made", ["secret", ("other", str, dataclasses.field(repr=False))])
    assert (shown(made), shown(ClientFingerprint)) == ({"secret"}, set())


def test_calls_and_answers_show_no_credentials() -> None:
    proof, form = {"Authorization": "Basic s3cret"}, {"code": "s3cret"}
    request = _Request("POST", "https://idp.example/token", proof, 0, form, body=b"s3cret")
    head = parse(b"HTTP/1.1 200 OK\r\nSet-Cookie: id=s3cret\r\n\r\n")
    for each in (request, Response(200, {"Set-Cookie": "id=s3cret"}, b'{"access_token": "s3cret"}'), head):
        assert "s3cret" not in repr(each)
