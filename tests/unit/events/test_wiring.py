"""What an operator's settings make of events: where they go, and whether anything is signed."""

import json
from pathlib import Path

import pytest

from bff import settings as settings_layer
from bff.crypto import Keyring
from bff.events.envelope import enveloped
from bff.events.kafka import KafkaPublisher
from bff.events.log_publisher import LogPublisher
from bff.events.model import EventType
from bff.events.wiring import EventServices, build_events
from bff.keys.signing import generated
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.events.support import LOGIN, SOURCE

KEY = json.dumps(generated("ES256", 0).private())
BROKERS = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1,[::1]:2"}
SIGNING = {"TOKEN_AUTH_METHOD": "private_key_jwt", "AUTH_CLIENT_KEY": KEY}


def made(folder: Path, kv: WatchedStore, **environ: str) -> EventServices:
    provider = {"OIDC_ISSUER": "https://idp.example", "AUTH_CLIENT_ID": "bff", "BFF_DATA_DIR": str(folder)}
    settings = settings_layer.load({"BFF_CONFIG_DIR": str(folder), **provider, **environ})
    assert not settings.problems
    return build_events(settings, kv, Keyring([b"k" * 32]), Clock(), Clock(), lambda _seconds: None)


@pytest.mark.parametrize(("environ", "publisher"), [({}, LogPublisher), (BROKERS, KafkaPublisher)])
def test_where_they_go(tmp_path: Path, kv: WatchedStore, environ: dict[str, str], publisher: type) -> None:
    assert type(made(tmp_path, kv, **environ).relay._publisher) is publisher


@pytest.mark.parametrize(
    ("environ", "tokens"),
    [
        ({}, 0),
        (BROKERS, 0),
        (SIGNING, 0),
        (BROKERS | SIGNING, 1),
        (BROKERS | SIGNING | {"TOKEN_AUTH_METHOD": "client_secret_basic"}, 0),
    ],
)
def test_security_event_tokens_need_a_receiver_and_a_published_key(
    tmp_path: Path, kv: WatchedStore, environ: dict[str, str], tokens: int
) -> None:
    data = {**LOGIN, "user": "u"}
    event = enveloped(EventType.SESSION_CREATED, data, source=SOURCE, now=0, correlation_id="", traceparent=None)
    assert len(made(tmp_path, kv, **environ).relay._derive(event)) == tokens
