"""Time for tests: it stands still until a test moves it."""


class Clock:
    """Unix seconds. `clock.now += 60` is a minute later."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
