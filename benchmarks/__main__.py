"""`make bench`: every benchmark, one after the other. `python -m benchmarks verify` runs one."""

import sys

from benchmarks import held, memory, metrics, pdp, proxy, routes, streams, telemetry, tokens, verify

BENCHMARKS = {
    "verify": verify.main,
    "held": held.main,
    "memory": memory.main,
    "metrics": metrics.main,
    "tokens": tokens.ensure,
    "validation": tokens.validation,
    "routes": routes.main,
    "proxy": proxy.main,
    "decisions": pdp.decisions,
    "streams": streams.main,
    "telemetry": telemetry.main,
}


def main() -> int:
    wanted = sys.argv[1:] or list(BENCHMARKS)
    missed = 0
    for name in wanted:
        print(f"== {name}")
        missed += not BENCHMARKS[name]()
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
