"""What an operator's settings make of events: where they go, and whether anything is signed."""

import json
from pathlib import Path

import pytest

from bff import settings as settings_layer
from bff.crypto import Keyring
from bff.events.envelope import enveloped
from bff.events.kafka import Kafka
from bff.events.model import EventType
from bff.events.workflow import EventWorkflow, event_workflow
from bff.events.written import Written
from bff.signing import generated
from tests.clock import Clock
from tests.flows.store import WatchedStore
from tests.unit.events.support import LOGIN, SOURCE

KEY = json.dumps(generated("ES256", 0).private())
BROKERS = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1,[::1]:2"}
SIGNING = {"TOKEN_AUTH_METHOD": "private_key_jwt", "AUTH_CLIENT_KEY": KEY}


def made(folder: Path, kv: WatchedStore, **environ: str) -> EventWorkflow:
    provider = {"OIDC_ISSUER": "https://idp.example", "AUTH_CLIENT_ID": "bff", "BFF_DATA_DIR": str(folder)}
    settings = settings_layer.load({"BFF_CONFIG_DIR": str(folder), **provider, **environ})
    assert not settings.problems
    return event_workflow(settings, kv, Keyring([b"k" * 32]), Clock(), Clock(), lambda _seconds: None)


@pytest.mark.parametrize(("environ", "carrier"), [({}, Written), (BROKERS, Kafka)])
def test_where_they_go(tmp_path: Path, kv: WatchedStore, environ: dict[str, str], carrier: type) -> None:
    assert type(made(tmp_path, kv, **environ).delivery._carrier) is carrier


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
    assert len(made(tmp_path, kv, **environ).delivery._derive(event)) == tokens
