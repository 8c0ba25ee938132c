"""A real browser: Debian's Chromium, driven by Playwright's driver from PyPI (`playwright install` is never run)."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.peers import install

ARGUMENTS = [
    "--no-sandbox",  # in a container there is no user namespace for it
    "--disable-dev-shm-usage",  # nor a large /dev/shm
    "--disable-gpu",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.*",  # a page that asks for fonts elsewhere waits for nobody
]
TIMEOUT_MS = 10_000


@contextmanager
def chromium() -> Iterator[Browser]:
    program = install.debian("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=3 * TIMEOUT_MS)
        try:
            yield browser
        finally:
            browser.close()
