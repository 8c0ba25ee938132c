"""What is taken for a secret or for personal data, and what an application may well say."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.beacon.sensitive import kind_of_name, kind_of_text
from tests.unit.sensitive_texts import PERSONAL, PERSONAL_NAMES, SECRET_NAMES, SECRETS, random_text, spelt


@given(spelt(SECRET_NAMES))
def test_names_of_secrets_in_any_spelling(name: str) -> None:
    assert kind_of_name(name) == "secret"


@given(spelt(PERSONAL_NAMES))
def test_names_of_personal_data_in_any_spelling(name: str) -> None:
    assert kind_of_name(name) == "personal_data"


@pytest.mark.parametrize("name", ["раssword", "tοken", "sеcret", "ｅmail", "𝓅𝒽𝑜𝓃𝑒", "é-mail", "Ⓔⓜⓐⓘⓛ"])
def test_names_in_letters_that_look_the_same(name: str) -> None:
    assert kind_of_name(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "event", "name", "value", "path", "attributes", "component", "duration_ms", "user_agent", "hostname", "locale",
        "status", "error_code", "message", "keyboard", "keyword", "monkey", "hotkey", "author", "authenticated",
        "bypass", "passive", "compass", "microphone", "headphones", "sidebar", "pinned", "option", "referrer",
        "file_name", "eventName", "displayMode", "mobile", "telemetry", "emitted", "", "_", "7", "日本語",
    ],
)  # fmt: skip
def test_ordinary_names(name: str) -> None:
    assert kind_of_name(name) is None


@pytest.mark.parametrize("text", SECRETS)
def test_secrets(text: str) -> None:
    assert kind_of_text(text) == "secret"


@pytest.mark.parametrize("text", PERSONAL)
def test_personal_data(text: str) -> None:
    assert kind_of_text(text) == "personal_data"


@given(st.binary(max_size=40), st.sampled_from(["{}", "id {} seen", "/a/{}/b", "?q={}", "({})", '"{}",', "{}%20"]))
def test_long_random_text(seed: bytes, around: str) -> None:
    assert kind_of_text(around.format(random_text(seed))) == "secret"


@given(st.sampled_from([*SECRETS, *PERSONAL]), st.sampled_from(["{}", "[{}]", "\t{}\n", "Error: {}", "a, {}, b"]))
def test_anywhere_in_a_text(text: str, around: str) -> None:
    assert kind_of_text(around.format(text)) is not None


@pytest.mark.parametrize(
    "text",
    [
        "/orders/123e4567-e89b-12d3-a456-426614174000", "/", "#section-2", "https://app.example/a/b?page=2&sort=name",
        "/search?q=monkey+island&utm_source=newsletter", "/products/how-to-build-a-random-thing-2024-edition",
        "/p/V1StGXR8_Z5jdHi6B-myT", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "0ujtsYcgvSTl8PAuAdqWYSMnLOv",
        "507f1f77bcf86cd799439011",
        "1.2.3", "v2.14.0-rc.1", "1.2.3-beta.1+20240501123456", "2024.05.01",
        "8ced2f59f5c7bea3344e35d2d53e1f8f8eb9fcd8",
        "a1b2c3d", "1712345678901", "1712345678", "1712345678901234", "2024-05-01T12:00:00.000+02:00", "12:34:56.789",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736", "en-US",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 Version/17.4 Safari/604.1",
        "TypeError: Cannot read properties of undefined (reading 'key')", "Unexpected token '<' in JSON at position 0",
        "Missing bearer token", "Basic subscription plan",
        "ResizeObserver loop completed with undelivered notifications.",
        "at HTMLInputElementOnClickHandlerForButton2 (https://app.example/assets/index-Bk3dJ2f9.js:12:3456)",
        "render@https://app.example/x.js:1:2", "/img/logo@2x.png", "npm:@scope/pkg@1.2.3-beta.rc", "1920x1080",
        "$1,234.50",
        "chunk-vendors.5d41402abc4b2a76b9719d911017c592.js", "52.520008,13.404954", "192.168.100.200", "65.5 %", "100%",
        "geschaeftsfuehrerwechsel-beantragen-online", "przedsiebiorstwo-wielobranzowe-informacje", "Grüße, Welt",
        "日本語",
        "ProductListPageComponentContainer", "feature/checkout_step_3_payment_v2_variant_b", "1" * 200, "x" * 200, "",
    ],
)  # fmt: skip
def test_what_applications_say(text: str) -> None:
    assert kind_of_text(text) is None


@given(st.uuids(), st.integers(1_500_000_000_000, 1_999_999_999_999), st.binary(max_size=20))
def test_identifiers_and_times(uuid: object, milliseconds: int, seed: bytes) -> None:
    commit, trace = hashlib.sha1(seed).hexdigest(), hashlib.md5(seed).hexdigest()
    for text in (f"/orders/{uuid}", str(milliseconds), str(milliseconds / 1000), commit, trace):
        assert kind_of_text(text) is None


@pytest.mark.parametrize(
    "piece",
    [
        "a", "1", "4 ", "a@", "%25", "25%", "key", "AB12", "AA11 ", "\ufdfa", "\u0301\u0316", "a.b-",
        "x=", '"x":', "+1",
        "(", "-", "eyJ", "bearer ", "://", "\\", " ", "0170 ", "a1", "é", "//a:", "\U0001d4c5",
    ],
)  # fmt: skip
def test_time_is_bounded(piece: str) -> None:
    """16 KiB of what a backtracking pattern would choke on; the slowest needs a tenth of this."""
    text = piece * (16 * 1024 // len(piece.encode()))
    start = time.process_time()
    kind_of_text(text)
    kind_of_name(text)
    assert time.process_time() - start < 2


@given(st.text(max_size=300))
def test_any_text_has_an_answer(text: str) -> None:
    assert kind_of_text(text) in (None, "secret", "personal_data")
    assert kind_of_name(text) in (None, "secret", "personal_data")
