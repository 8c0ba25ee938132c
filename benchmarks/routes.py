"""Cost of routing a request: CPU time in this process, beside an empty Flask view dispatched in turn.

Tables of 10, 100 and 1,000 realistic routes, with requests to all of them.
"""

import random
import statistics

from benchmarks.cpu import cpu, empty_view
from bff.routes import RouteTable, problems
from bff.settings import RouteSettings

ROUNDS = 21
VIEWS = 5000
REQUESTS = 2000
TIMES = 5
SIZES = (10, 100, 1000)

AT_MOST_OF_VIEW = 1 / 30
LARGEST_AT_MOST_OF_SMALLEST = 1.3

SHAPES = (
    "/api/{area}/orders{number}",
    "/api/{area}/orders{number}/{{id}}",
    "/api/{area}/orders{number}/{{id}}/lines",
    "/api/{area}/orders{number}/{{id}}/lines/{{line}}",
    "/api/{area}/orders{number}/search",
    "/api/orders{number}/{{id}}",
    "/api/orders{number}/{{id}}/history",
    "/api/{area}/files{number}/*",
)
AREAS = ("sales", "finance", "people", "stock")
IDS = ("4711", "8d4b1c1e-7a53-4f2e-9d58-0a9a6f0f3c11", "2026-000123", "eu_west.1")


def main() -> bool:
    """Whether both targets were met: a match among the most routes, and how it compares with one among the fewest."""
    chance = random.Random(1)
    view, asked = empty_view(), {size: _asked(size, chance) for size in SIZES}
    of_view, growth = [], []
    print(f"empty Flask view, one match among {', '.join(map(str, SIZES))} routes; CPU, {ROUNDS} rounds")
    for number in range(1, ROUNDS + 1):
        empty = cpu(view, VIEWS)
        took = {size: min(_match(*asked[size]) for _ in range(3)) for size in SIZES}
        of_view.append(took[SIZES[-1]] / empty)
        growth.append(took[SIZES[-1]] / took[SIZES[0]])
        figures = ", ".join(f"{size} {seconds * 1e6:.2f}" for size, seconds in took.items())
        print(f"  round {number}: view {empty * 1e6:.1f} us, {figures}; {SIZES[-1]}/view 1/{1 / of_view[-1]:.1f}")
    ratio, grown = statistics.median(of_view), statistics.median(growth)
    print(f"median {SIZES[-1]}/view 1/{1 / ratio:.1f} (target: under 1/{1 / AT_MOST_OF_VIEW:.0f})")
    print(f"median {SIZES[-1]}/{SIZES[0]} {grown:.2f} (target: at most {LARGEST_AT_MOST_OF_SMALLEST})")
    return ratio < AT_MOST_OF_VIEW and grown <= LARGEST_AT_MOST_OF_SMALLEST


def _asked(size: int, chance: random.Random) -> tuple[RouteTable, list[str]]:
    """A table of so many routes, and paths of requests to them."""
    routes = [
        RouteSettings(
            f"r{number}", SHAPES[number % len(SHAPES)].format(area=AREAS[number % 4], number=number // 8), "s"
        )
        for number in range(size)
    ]
    if problems(routes):
        raise ValueError("routes that contradict each other measure nothing")
    return RouteTable(routes), [_path(chance.choice(routes).path, chance) for _ in range(REQUESTS)]


def _path(template: str, chance: random.Random) -> str:
    return template.replace("{id}", chance.choice(IDS)).replace("{line}", "12").replace("*", "2026/report-3.pdf")


def _match(table: RouteTable, paths: list[str]) -> float:
    match = table.match
    return cpu(lambda: [match("GET", path) for path in paths], TIMES) / len(paths)
