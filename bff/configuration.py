"""Configuration snapshot: read once, checked, built from, and in effect as a whole or not at all.

gunicorn executes its settings file anew for each SIGHUP, in the same master. What is in effect is remembered here,
where it outlives that: a reading that is refused leaves it, and all that is computed from it, as it was.
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
"""Seconds until files that were being rewritten are read again, and how often they are."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """problems: why it cannot be put into effect; none when it can. settings: None when nothing could be made of it."""

    settings: Settings | None
    problems: tuple[str, ...] = ()


def read(
    environ: Mapping[str, str],
    config_dir: Path | None = None,
    *,
    files: Callable[[], Files] = Files,
    wait: Callable[[float], None] = time.sleep,
) -> Reading:
    """An environment and every file that it names, at one moment, checked. Never raises for what a file holds."""
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
    except Exception as err:  # noqa: BLE001 - a mistake of this release, which must not end a master that serves
        return Reading(None, (unexpected(err),))


def unexpected(err: Exception) -> str:
    """A problem that names where it was met; the error's own words may quote a secret."""
    last = traceback.extract_tb(err.__traceback__)[-1]
    return f"The configuration cannot be used: {type(err).__name__} in {Path(last.filename).name}:{last.lineno}."


@dataclasses.dataclass(frozen=True)
class Configuration:
    """since: Unix seconds. app: what was built from the settings; None at a first start, whose server builds it."""

    settings: Settings
    hash: str
    since: float
    app: Any = None


class Master:
    """What is in effect in this process, and what is about to be. One for each process."""

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
        """Build from a reading. Its problems and those that `more` finds; with any, nothing changes."""
        self.next = None
        settings = reading.settings
        if settings is None or reading.problems:
            return list(reading.problems)
        if found := [*settings_check.listener_problems(settings, self.addresses), *more(settings)]:
            return found
        try:
            self.next = Configuration(settings, hash_of(settings), self._clock(), build(settings))
        except settings_check.InvalidSettings as err:  # a certificate, say, that has gone since it was read
            return err.problems
        except Exception as err:  # noqa: BLE001 - likewise
            return [unexpected(err)]
        return []

    def take(self) -> Configuration | None:
        """What was prepared, in effect from now on; None when nothing was."""
        new, self.next = self.next, None
        if new is not None:
            self.running = new
        return new

    @property
    def settings(self) -> Settings:
        """Those that the server is to run with: of the next configuration, else of the running one."""
        found = self.next or self.running
        if found is None:
            raise RuntimeError("no configuration has been read")
        return found.settings


master = Master()
