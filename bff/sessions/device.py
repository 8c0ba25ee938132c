"""Names a session's device for the list that its user reads: browser and system, such as "Firefox on Linux".

Only words from the tables below are kept: no version, no model, no text of the User-Agent itself. So a record reveals
little about a user, and a forged User-Agent shows no text of its own to a reader.
"""

import re

# The first match counts: most browsers also name others, for compatibility.
_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/"),
    ("Opera", r"\bOPR/|\bOPiOS/|\bOpera\b"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Vivaldi", r"\bVivaldi/"),
    ("Firefox", r"\bFirefox/|\bFxiOS/"),
    ("Chrome", r"\bChrome/|\bCriOS/|\bHeadlessChrome/"),
    ("Chromium", r"\bChromium/"),
    ("Safari", r"\bVersion/[\d.]+ .*\bSafari/"),
    ("Internet Explorer", r"\bMSIE |\bTrident/"),
    ("curl", r"^curl/"),
    ("Python", r"^python-(?:requests|urllib3|httpx)/|^Python/|^Python-urllib/"),
)
_SYSTEMS = (
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Windows", r"\bWindows\b"),
    ("macOS", r"\bMacintosh\b|\bMac OS X\b"),
    ("Linux", r"\bLinux\b|\bX11\b"),
)
_LONGEST = 512
_browsers = [(name, re.compile(pattern)) for name, pattern in _BROWSERS]
_systems = [(name, re.compile(pattern)) for name, pattern in _SYSTEMS]


def device_of(user_agent: str) -> str:
    """The device's name; empty when neither part is known."""
    said = user_agent[:_LONGEST]
    browser = next((name for name, pattern in _browsers if pattern.search(said)), "")
    system = next((name for name, pattern in _systems if pattern.search(said)), "")
    return f"{browser} on {system}" if browser and system else browser or system
