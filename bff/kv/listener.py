"""Subscription thread with reconnection, the same for every store: connect, deliver, and start again after a failure.

A store brings only its `session`: connect, call `connected()`, then `deliver()` each message until `stopped` is set
or the connection fails.
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

from bff.errors import StoreUnavailable

log = logging.getLogger(__name__)

FIRST_DELAY = 0.05
LONGEST_DELAY = 0.5
JOIN_TIMEOUT = 5.0


class ChannelListener:
    """A `Subscription`. Its thread survives every failure of the store and of the callbacks."""

    def __init__(
        self,
        session: Callable[["ChannelListener"], None],
        on_message: Callable[[str], None],
        on_state: Callable[[bool], None],
        on_close: Callable[["ChannelListener"], None],
    ) -> None:
        self.stopped = threading.Event()
        self._session = session
        self._on_message = on_message
        self._on_state = on_state
        self._on_close = on_close
        self._connected = False
        self._delay = FIRST_DELAY
        self._thread = threading.Thread(target=self._run, name="kv-subscription", daemon=True)
        self._thread.start()

    def connected(self) -> None:
        """Reports that messages arrive from now on."""
        self._delay = FIRST_DELAY
        self._connected = True
        self._call(self._on_state, True)

    def deliver(self, message: str) -> None:
        self._call(self._on_message, message)

    def close(self) -> None:
        """Stops and waits for the thread, unless it is the caller."""
        self.stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_TIMEOUT)
        self._on_close(self)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                self._session(self)
            except StoreUnavailable as err:
                log.warning("kv_subscription_lost", extra={"reason": str(err), "retry_in": self._delay})
            except Exception:
                log.exception("kv_subscription_failed")
            self._disconnected()

    def _disconnected(self) -> None:
        if self._connected and not self.stopped.is_set():
            self._call(self._on_state, False)
        self._connected = False
        self.stopped.wait(self._delay)
        self._delay = min(2 * self._delay, LONGEST_DELAY)

    def _call(self, callback: Callable[[Any], None], value: object) -> None:
        try:
            callback(value)
        except Exception:
            log.exception("kv_subscription_callback_failed")
