"""Label values come from closed sets, and no person can be told from one."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.crypto import Keyring
from bff.observability.labels import Pseudonyms

KEYS, OTHER_KEYS = Keyring([b"k" * 32]), Keyring([b"l" * 32])


def pseudonyms(mode: str = "bucket", buckets: int = 1024, keys: Keyring = KEYS) -> Pseudonyms:
    return Pseudonyms(mode, buckets, keys.mac("metrics-bucket"))


@given(st.text(max_size=100))
def test_every_identifier_has_one_of_the_buckets(identifier: str) -> None:
    bucket = pseudonyms().of(identifier)
    assert bucket == pseudonyms().of(identifier), "another worker says the same"
    assert 0 <= int(bucket.removeprefix("u"), 16) < 1024


def test_ten_thousand_clients_fill_the_buckets_evenly() -> None:
    made = pseudonyms(buckets=16)
    clients = [made.of(f"192.0.2.{number}") for number in range(10_000)]
    counts = [clients.count(f"u{number:x}") for number in range(16)]
    assert sum(counts) == 10_000
    assert 500 < min(counts) <= max(counts) < 750


def test_without_the_key_nobody_can_tell() -> None:
    clients = [f"192.0.2.{number}" for number in range(1000)]
    ours, theirs = pseudonyms(), pseudonyms(keys=OTHER_KEYS)
    assert sum(ours.of(client) == theirs.of(client) for client in clients) < 20


def test_it_can_be_turned_off() -> None:
    assert pseudonyms("off").of("192.0.2.1") == ""


def test_raw_identifiers_come_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    pseudonyms()
    assert caplog.records == []
    assert pseudonyms("raw").of("192.0.2.1") == "192.0.2.1"
    assert [record.getMessage() for record in caplog.records] == ["metrics_label_people"]
