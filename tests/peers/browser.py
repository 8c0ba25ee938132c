"""A real browser: Debian's Chromium, driven by Playwright's driver from PyPI (`playwright install` is never run)."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.peers import install

ARGUMENTS = [
    "--no-sandbox",  # in a container there is no user namespace for it
    "--disable-dev-shm-usage",  # nor a large /dev/shm
    "--disable-gpu",
]
NOWHERE = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.*"  # a page that asks for fonts elsewhere waits for nobody
TIMEOUT_MS = 10_000


@contextmanager
def chromium(hosts: str = "") -> Iterator[Browser]:
    """hosts: a pattern of host names, such as *.test, that are all at 127.0.0.1."""
    rules = f"MAP {hosts} 127.0.0.1, {NOWHERE}" if hosts else NOWHERE
    program = install.debian("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*ARGUMENTS, f"--host-resolver-rules={rules}"], timeout=3 * TIMEOUT_MS
        )
        try:
            yield browser
        finally:
            browser.close()
