"""What a session's device is called in a list that its user reads: browser and system, such as "Firefox on Linux".

Only words from the tables below are kept: no version, no model, nothing of what the User-Agent really said. So a record
says little about a person, and a made-up User-Agent puts no text of its own before anybody's eyes.
"""

import re

# The first that matches counts: most browsers also name those that they want to be taken for.
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
    """Empty when neither is known."""
    said = user_agent[:_LONGEST]
    browser = next((name for name, pattern in _browsers if pattern.search(said)), "")
    system = next((name for name, pattern in _systems if pattern.search(said)), "")
    return f"{browser} on {system}" if browser and system else browser or system
