"""What a device is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bff.sessions.device import device_of
from tests.fuzz import examples

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/"
WINDOWS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
PIXEL = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Windows"),
        (WINDOWS, "Chrome on Windows"),
        (f"{WINDOWS} Edg/131.0.2903.70", "Edge on Windows"),
        (f"{WINDOWS} OPR/114.0.0.0", "Opera on Windows"),
        (f"{WINDOWS} Vivaldi/7.0", "Vivaldi on Windows"),
        (f"{MAC}605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15", "Safari on macOS"),
        (f"{MAC}537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36", "Chrome on macOS"),
        (f"{IPHONE}Version/18.1 Mobile/15E148 Safari/604.1", "Safari on iPhone"),
        (f"{IPHONE}CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1", "Chrome on iPhone"),
        (f"{IPHONE}FxiOS/133.0 Mobile/15E148 Safari/605.1.15", "Firefox on iPhone"),
        (f"{IPHONE}EdgiOS/131.0.2903.68 Version/18.0 Mobile/15E148 Safari/604.1", "Edge on iPhone"),
        ("Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) Version/17.7 Mobile/15E148 Safari/604.1", "Safari on iPad"),
        (f"{PIXEL}Chrome/131.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PIXEL}SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36", "Samsung Internet on Android"),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/131.0.0.0 Safari/537.36", "Chrome on ChromeOS"),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/131.0.0.0 Safari/537.36", "Chrome on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "Internet Explorer on Windows"),
        ("curl/8.5.0", "curl"),
        ("python-requests/2.32.3", "Python"),
        ("Mozilla/5.0 (Linux; unheard of)", "Linux"),
        ("", ""),
        ("<script>alert(1)</script>", ""),
        ("x" * 600 + " Firefox/140.0", ""),
    ],
)
def test_the_device_of(user_agent: str, device: str) -> None:
    assert device_of(user_agent) == device


@examples(200)
@given(st.text() | st.from_regex(r"Firefox/.*Linux.*"))
def test_nothing_of_what_the_user_agent_says_is_repeated(user_agent: str) -> None:
    words = set(device_of(user_agent).replace("Samsung Internet", "").replace("Internet Explorer", "").split())
    assert words <= {
        *("Edge", "Opera", "Vivaldi", "Firefox", "Chrome", "Chromium", "Safari", "curl", "Python", "on"),
        *("iPhone", "iPad", "Android", "ChromeOS", "Windows", "macOS", "Linux"),
    }
