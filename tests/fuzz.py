"""How much hypothesis tries: a fifth in every run, five times as much by `make fuzz`; on however busy a machine."""

import os

from hypothesis import HealthCheck, settings

TIMES = float(os.environ.get("FUZZ_TIMES", "0.2"))
FEWEST = 5


def examples(number: int = 100) -> settings:
    """number: of one time."""
    tried = max(FEWEST, round(number * TIMES))
    return settings(max_examples=tried, deadline=None, suppress_health_check=[HealthCheck.too_slow])
