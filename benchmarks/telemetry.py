"""Cost of OpenTelemetry for verify: off, on for an unsampled trace, and on with every request recorded; and verify's
p99 while the collector takes connections and never answers.

CPU time of the workers for each request, under the same gunicorn, loaded in turn, each round beginning with another
server, exports included; the collector is a process of its own. `lost` is the share of spans that were made and then
dropped for want of room.
"""

import statistics
import tempfile
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import servers
from benchmarks.servers import Server
from tests.peers import otlp

PATH = "/auth/verify"
ROUNDS = 30
SECONDS = 1
UNSAMPLED_AT_MOST = 1.05
SAMPLED_AT_MOST = 3.0
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
Round = dict[str, float]


def main() -> bool:
    """Whether every target was met."""
    return all([_costs(), _black_hole()])


def _costs() -> bool:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        collector = stack.enter_context(otlp.running())
        exported = {"OTLP_ENDPOINT": collector.grpc_url, "TELEMETRY_TRACES_PER_SECOND": "1000000"}
        cookie = servers.make_session(env)
        loads = {
            name: (stack.enter_context(servers.gunicorn("wsgi:app", "benchmarks/own_conf.py", {**env, **more})), flags)
            for name, more, flags in (("off", {}, "00"), ("unsampled", exported, "00"), ("sampled", exported, "01"))
        }
        for server, flags in loads.values():
            _cpu(server, flags, cookie)
        rounds = [
            {name: _cpu(*loads[name], cookie) for name in [*names[turn:], *names[:turn]]}
            for names, turn in ((list(loads), number % len(loads)) for number in range(ROUNDS))
        ]
        lost = _lost(loads["sampled"][0])
    return _report(rounds, lost)


def _cpu(server: Server, flags: str, cookie: str) -> float:
    return server.cpu_per_request(PATH, cookie, seconds=SECONDS, traceparent=f"{TRACE}-{flags}")


def _lost(server: Server) -> float:
    """The share of spans that never reached the collector."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    dropped = sum(each.value for each in samples if each.name == "bff_telemetry_dropped_total")
    answers = sum(each.value for each in samples if each.name == "bff_verify_duration_seconds_count")
    return dropped / answers


def _black_hole() -> bool:
    """Compares p99 with a collector that never answers, with one that takes all, and without telemetry. Each worker
    records a hundred traces a second."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = servers.environment(stack.enter_context(servers.redis(folder)), folder)
        cookie = servers.make_session(env)
        collectors = {
            "answering": stack.enter_context(otlp.running()).grpc_url,
            "black hole": stack.enter_context(otlp.black_hole()),
        }
        settings: dict[str, dict[str, str]] = {"off": {}} | {
            name: {"OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"} for name, url in collectors.items()
        }
        loads = {
            name: stack.enter_context(servers.gunicorn("wsgi:app", "benchmarks/own_conf.py", {**env, **more}))
            for name, more in settings.items()
        }
        for server in loads.values():
            _cpu(server, "01", cookie)
        rounds = [
            {
                name: server.p99(PATH, cookie, seconds=SECONDS, traceparent=f"{TRACE}-01")
                for name, server in loads.items()
            }
            for _ in range(ROUNDS)
        ]
    for number, found in enumerate(rounds, 1):
        print(f"  round {number}: " + ", ".join(f"{name} p99 {value * 1e3:.2f} ms" for name, value in found.items()))
    medians = {name: statistics.median(found[name] for found in rounds) for name in loads}
    noise = statistics.quantiles((found["answering"] for found in rounds), n=4)[2]
    figures = ", ".join(f"{name} {value * 1e3:.2f} ms" for name, value in medians.items())
    print(
        f"median p99 {figures} (target: black hole within noise, under answering's upper quartile {noise * 1e3:.2f} ms)"
    )
    return medians["black hole"] <= noise


def _report(rounds: list[Round], lost: float) -> bool:
    print(f"verify: CPU of {servers.WORKERS} gthread workers per request, {ROUNDS} rounds")
    for number, found in enumerate(rounds, 1):
        figures = ", ".join(f"{name} {found[name] * 1e6:.1f} us" for name in ("off", "unsampled", "sampled"))
        print(f"  round {number}: {figures}")
    unsampled, sampled = (
        statistics.median(found[name] / found["off"] for found in rounds) for name in ("unsampled", "sampled")
    )
    print(f"median unsampled/off {unsampled:.3f} (target: at most {UNSAMPLED_AT_MOST})")
    print(f"median sampled/off {sampled:.2f} (target: at most {SAMPLED_AT_MOST}); lost {lost:.0%}")
    return unsampled <= UNSAMPLED_AT_MOST and sampled <= SAMPLED_AT_MOST
