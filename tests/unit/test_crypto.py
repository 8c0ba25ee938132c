"""Ids, sealed bytes and MACs."""

import base64
import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff import crypto
from bff.crypto import Keyring, Mac, Sealer, SealError

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = b"0123456789abcdef0123456789abcdef"


def test_random_ids_are_43_characters_of_base64url_and_differ() -> None:
    ids = {crypto.random_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in ids)


def test_digest_is_sha_256_in_hex() -> None:
    assert crypto.digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.binary())
def test_base64url_has_no_padding(raw: bytes) -> None:
    text = crypto.base64url(raw)
    assert "=" not in text
    assert base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) == raw


@given(st.text(st.characters()), st.text(st.characters()))
def test_equal_takes_any_text(left: str, right: str) -> None:
    """Lone surrogates too, which JSON can carry."""
    assert crypto.equal(left, right) == (left == right)
    assert crypto.equal(left, left)


@given(st.binary(), st.text())
def test_what_is_sealed_opens_in_its_place(plaintext: bytes, context: str) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(plaintext, context)
    assert sealer.open(sealed, context) == plaintext
    assert sealed[:1] == crypto.FORMAT
    assert len(sealed) == 1 + 4 + 12 + len(plaintext) + 16


def test_sealing_twice_gives_different_bytes() -> None:
    sealer = Sealer([NEW])
    assert sealer.seal(b"x", "here") != sealer.seal(b"x", "here")


def test_a_sealed_record_opens_nowhere_else() -> None:
    sealer = Sealer([NEW])
    with pytest.raises(SealError):
        sealer.open(sealer.seal(b"x", "hot:1"), "hot:2")


@given(st.integers(min_value=0, max_value=8 * 38 - 1))
def test_one_changed_bit_is_noticed(bit: int) -> None:
    sealer = Sealer([NEW])
    sealed = bytearray(sealer.seal(b"hello", "here"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        sealer.open(bytes(sealed), "here")


@given(st.binary(max_size=64), st.integers(min_value=0, max_value=38))
def test_bytes_that_nobody_sealed_do_not_open(noise: bytes, cut: int) -> None:
    sealer = Sealer([NEW])
    for forged in (noise, sealer.seal(b"hello", "here")[:cut][:37], sealer.seal(b"hello", "here")[:17] + noise):
        with pytest.raises(SealError):
            sealer.open(forged, "here")


def test_the_first_key_seals_and_both_open() -> None:
    """A rotation: first the new key comes in front of the old one, then the old one goes."""
    before, between, after = Sealer([OLD]), Sealer([NEW, OLD]), Sealer([NEW])
    assert between.open(before.seal(b"x", "here"), "here") == b"x"
    assert after.open(between.seal(b"x", "here"), "here") == b"x"
    with pytest.raises(SealError):
        after.open(before.seal(b"x", "here"), "here")


def test_macs_verify_with_every_key_and_sign_with_the_first() -> None:
    old, both = Mac([OLD]), Mac([NEW, OLD])
    assert both.verify("message", old.sign("message"))
    assert not old.verify("message", both.sign("message"))
    assert both.signatures("message") == [both.sign("message"), old.sign("message")]
    assert not both.verify("message", "")
    assert not both.verify("another", both.sign("message"))


def test_a_mac_is_hmac_sha_256() -> None:
    expected = base64.urlsafe_b64encode(hmac.new(OLD, b"message", hashlib.sha256).digest()).rstrip(b"=").decode()
    assert Mac([OLD]).sign("message") == expected


def test_each_purpose_has_a_key_of_its_own_by_hkdf() -> None:
    """Against RFC 5869 written out: extract with a salt of zeros, expand one block."""
    pseudo_random = hmac.new(bytes(32), SECRET, hashlib.sha256).digest()
    derived = hmac.new(pseudo_random, b"bff/csrf\x01", hashlib.sha256).digest()
    keys = Keyring([SECRET])
    assert keys.mac("csrf").sign("message") == Mac([derived]).sign("message")
    assert keys.mac("csrf").sign("message") != keys.mac("session-index").sign("message")
    with pytest.raises(SealError):
        keys.sealer("session-cold").open(keys.sealer("session-hot").seal(b"x", "here"), "here")


def test_a_keyring_shows_no_key_and_needs_one() -> None:
    assert repr(Keyring([SECRET, OLD])) == "Keyring(2 secrets)"
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])
