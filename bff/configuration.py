"""Configuration snapshot: read once, checked, and in effect as a whole or not at all.

gunicorn executes its settings file anew for each SIGHUP, in the same master. This module keeps the configuration in
effect across those executions. A refused reading changes neither the configuration nor anything computed from it.
"""

import dataclasses
import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bff import settings as settings_layer
from bff import settings_check
from bff.settings import Files, Settings
from bff.settings_hash import hash_of

log = logging.getLogger(__name__)

ATTEMPTS = 5
PAUSE = 0.05
"""ATTEMPTS: how often files that change while they are read are read again; PAUSE: seconds in between."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """problems: reasons against putting it into effect; empty if there are none. settings: None when unreadable."""

    settings: Settings | None
    problems: tuple[str, ...] = ()


def read(
    environ: Mapping[str, str],
    config_dir: Path | None = None,
    *,
    files: Callable[[], Files] = Files,
    wait: Callable[[float], None] = time.sleep,
) -> Reading:
    """Reads and checks the environment and all files it names, as of one moment. Never raises for a file's content."""
    environ = dict(environ)
    changed: list[Path] = []
    for attempt in range(ATTEMPTS):
        if attempt:
            wait(PAUSE)
        snapshot = files()
        reading = _read(environ, config_dir, snapshot)
        changed = snapshot.changed()
        if not changed:
            return reading
    return Reading(None, tuple(f"{path}: changes while it is read." for path in changed))


def _read(environ: Mapping[str, str], config_dir: Path | None, files: Files) -> Reading:
    try:
        settings = settings_layer.load(environ, config_dir, files)
        return Reading(settings, tuple(settings_check.problems(settings)))
    except Exception as err:  # noqa: BLE001 - a bug in this release must not end a master that serves
        return Reading(None, (unexpected(err),))


def unexpected(err: Exception) -> str:
    """Returns a problem with the error's type and place only: its message may quote a secret."""
    last = traceback.extract_tb(err.__traceback__)[-1]
    return f"The configuration cannot be used: {type(err).__name__} in {Path(last.filename).name}:{last.lineno}."


@dataclasses.dataclass(frozen=True)
class Configuration:
    """since: Unix seconds. app: built from the settings; None at the first start, when the server builds it later."""

    settings: Settings
    hash: str
    since: float
    app: Any = None


class Master:
    """The running and the next configuration of this process; one instance per process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.running: Configuration | None = None
        self.next: Configuration | None = None
        self.addresses: tuple[object, ...] = ()

    def start(self, settings: Settings) -> None:
        self.running = Configuration(settings, hash_of(settings), self._clock())

    def prepare(
        self, reading: Reading, build: Callable[[Settings], Any], more: Callable[[Settings], Iterable[str]]
    ) -> list[str]:
        """Builds the next configuration. Returns the problems of the reading and of `more`; any problem stops it."""
        self.next = None
        settings = reading.settings
        if settings is None or reading.problems:
            return list(reading.problems)
        if found := [*settings_check.listener_problems(settings, self.addresses), *more(settings)]:
            return found
        try:
            self.next = Configuration(settings, hash_of(settings), self._clock(), build(settings))
        except settings_check.InvalidSettings as err:  # for example a certificate that was deleted since the reading
            return err.problems
        except Exception as err:  # noqa: BLE001 - as in _read
            return [unexpected(err)]
        return []

    def take(self) -> Configuration | None:
        """Puts the prepared configuration into effect and returns it; None when there is none."""
        new, self.next = self.next, None
        if new is not None:
            self.running = new
        return new

    @property
    def settings(self) -> Settings:
        """The settings of the next configuration, else of the running one."""
        found = self.next or self.running
        if found is None:
            raise RuntimeError("no configuration has been read")
        return found.settings


master = Master()
