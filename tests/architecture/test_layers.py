"""The architecture, enforced: who may import whom, and which file is the door to which library.

LEVELS is also the reading order of the source. A module imports only from groups above its own, and from its own
package, there from its own group, too.
"""

import ast
from collections import defaultdict
from collections.abc import Mapping
from fnmatch import fnmatch
from importlib.metadata import packages_distributions

from tests.architecture import source
from tests.architecture.source import Import

# `bff.kv.*` is the package and everything in it that has no line of its own.
LEVELS: tuple[tuple[str, ...], ...] = (
    # packages that only hold others, and the version
    (
        "bff",
        "bff.events",
        "bff.observability",
        "bff.pdp",
    ),
    # building blocks that know nothing of the BFF
    ("bff.lib.*",),
    (
        "bff.errors",
        "bff.crypto",
        "bff.keys.signing",
        "bff.beacon.sensitive",
        "bff.server.arrival",
        "bff.server.draining",
        "bff.observability.multiprocess.*",
        "bff.observability.fast_metrics",
        "bff.observability.traces",
    ),
    # typed data and declared names
    (
        "bff.settings.*",
        "bff.observability.labels",
        "bff.observability.metrics",
        "bff.events.model",
        "bff.kv.redis_url",
        "bff.pdp.model",
    ),
    # config/routes.yaml, compiled, and the embedded policy engine: the settings are checked with them
    (
        "bff.routes.*",
        "bff.pdp.cedar",
        "bff.settings_hash",
    ),
    # start-up
    (
        "bff.settings_check",
        "bff.server.framing",
        "bff.server.metrics_folder",
        "bff.keys.*",
        "bff.observability.logs",
        "bff.observability.process_metrics",
        "bff.observability.exposition",
        "bff.observability.catalogue",
        "bff.observability.otlp.*",
        "bff.observability.telemetry",
        "bff.observability.reloads",
    ),
    # what is in effect
    ("bff.configuration",),
    # doors to the outside
    (
        "bff.breaker",
        "bff.bulkhead",
        "bff.server.access_log",
        "bff.sealed",
    ),
    ("bff.kv.*",),
    # built on the doors
    (
        "bff.http.*",
        "bff.health",
        "bff.tasks.*",
        "bff.events.*",
        "bff.ratelimit",
    ),
    # domain: no Flask, no sockets of its own
    (
        "bff.sessions.*",
        "bff.beacon.*",
    ),
    ("bff.rotation",),
    # domain, second line: talking to a provider
    (
        "bff.oidc.*",
        "bff.routes.explain",
        "bff.routes.__main__",
    ),
    # domain, third line: callers with a token, persons with a session, and what sessions and providers do together
    (
        "bff.bearer.*",
        "bff.login.*",
        "bff.tokens.*",
    ),
    # domain, last line: whether somebody may do something, and requests that are passed on with those tokens
    (
        "bff.pdp.*",
        "bff.proxy.*",
    ),
    # wiring
    ("bff.services",),
    # the edges
    (
        "bff.web.*",
        "bff.admin.*",
        "bff.settings_check.__main__",
    ),
    ("bff.dev.*",),
    # top
    (
        "bff.app",
        "bff.server.*",
    ),
    ("wsgi",),
    ("gunicorn.conf",),
)

# Library -> the files that may import it. A library that is not here has no door yet.
DOORS: Mapping[str, tuple[str, ...]] = {
    "authlib": ("bff/dev/*",),
    "cedarpy": ("bff/pdp/cedar.py",),
    "confluent_kafka": ("bff/events/kafka.py", "bff/events/broker.py"),
    "cryptography": ("bff/crypto.py", "bff/keys/signing.py"),
    "flask": ("bff/web/*", "bff/dev/*", "bff/app.py", "wsgi.py"),
    "gevent": ("gunicorn.conf.py", "bff/server/gevent.py"),
    "gunicorn": ("bff/server/*",),
    "gunicorn_h1c": ("bff/server/framing.py",),
    "joserfc": ("bff/oidc/*", "bff/keys/signing.py", "bff/dev/*"),
    "jsonpath": ("bff/routes/jsonpath.py",),
    "marshmallow": ("bff/settings/*", "bff/beacon/reports.py", "bff/web/*", "bff/dev/*"),
    "prometheus_client": ("bff/observability/*",),
    "opentelemetry": ("bff/observability/traces.py", "bff/observability/telemetry.py", "bff/observability/otlp/*"),
    "pythonjsonlogger": ("bff/observability/logs.py",),
    "redis": ("bff/kv/redis*.py",),
    "requests": ("bff/http/*", "bff/dev/in_process.py"),
    "urllib3": ("bff/http/*", "bff/dev/in_process.py"),
    "werkzeug": ("bff/web/*", "bff/dev/*"),
    "yaml": ("bff/settings/*", "bff/web/openapi.py"),
    # standard library, but a door all the same
    "sqlite3": ("bff/kv/sqlite*.py",),
}

# settings/ reads everything that is ours. telemetry.py tells OpenTelemetry's libraries what they only take from there.
# gunicorn.conf.py reads and hands on what the server needs before there are
# settings; the others ask where the metrics folder is as prometheus_client does, so that all give the same answer.
ENVIRONMENT_READERS = (
    "bff/settings/*",
    "gunicorn.conf.py",
    "bff/observability/telemetry.py",
    "bff/observability/exposition.py",
    "bff/observability/multiprocess/values.py",
)


def entry(module: str) -> str | None:
    """The line of LEVELS that speaks for a module: its own, else its package's."""
    listed = {name for group in LEVELS for name in group}
    parts = module.split(".")
    packages = [".".join(parts[:length]) + ".*" for length in range(len(parts), 0, -1)]
    return next((name for name in [module, *packages] if name in listed), None)


def level(module: str) -> int:
    return next(number for number, group in enumerate(LEVELS) if entry(module) in group)


def package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def upward_imports(sources: Mapping[str, str]) -> list[str]:
    wrong = []
    for found in source.imports(sources):
        importer = source.module(found.importer)
        if found.library not in source.OURS:
            continue
        inside = package(importer) == package(found.target)
        if level(found.target) >= level(importer) + inside:
            wrong.append(
                f"{found.importer}:{found.line}: imports {found.target}, which is not above {importer} in LEVELS."
                " Move what both need further up, or hand it in as an argument."
            )
    return wrong


def wrong_doors(sources: Mapping[str, str]) -> list[str]:
    wrong = []
    for found in source.imports(sources):
        if found.library in DOORS and not _may(found, DOORS[found.library]):
            wrong.append(
                f"{found.importer}:{found.line}: imports {found.library}, whose door is"
                f" {', '.join(DOORS[found.library])}. Put a function there and call that."
            )
        elif found.library not in DOORS and source.is_third_party(found):
            wrong.append(
                f"{found.importer}:{found.line}: imports {found.library}, which has no door. Choose the one file that"
                " may, and add it to DOORS, to requirements.txt and to docs/adr/0002-dependencies.md."
            )
    return wrong


def _may(found: Import, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(found.importer, pattern) for pattern in patterns)


def environment_reads(sources: Mapping[str, str]) -> list[str]:
    wrong = []
    for path, text in sources.items():
        if any(fnmatch(path, pattern) for pattern in ENVIRONMENT_READERS):
            continue
        for node in ast.walk(source.parse(text)):
            if _is_environment(node):
                wrong.append(
                    f"{path}:{getattr(node, 'lineno', 0)}: uses the process environment."
                    " Declare a setting in bff/settings/environment.py and take its value as an argument."
                )
    return wrong


def _is_environment(node: ast.AST) -> bool:
    names: set[str] = set()
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
        names = {node.attr}
    return bool(names & {"environ", "environb", "getenv", "getenvb", "putenv"})


def hidden_imports(sources: Mapping[str, str]) -> list[str]:
    found = [f"{one.importer}:{one.line}" for one in source.imports(sources) if one.library == "importlib"]
    found += [f"line {call.lineno}" for name, call in source.calls(sources) if name in ("__import__", "exec", "eval")]
    return [f"{where}: imports in a way this test cannot see. Write an import statement." for where in found]


def blueprint_imports(sources: Mapping[str, str]) -> list[str]:
    """A face is one blueprint: a module of web/, or a module or package of dev/."""

    def face(module: str) -> str:
        return ".".join(module.split(".")[:3])

    found = source.imports(sources)
    faces = {face(path) for path in map(source.module, _makers_of_blueprints(sources)) if path.count(".") >= 2}
    return [
        f"{one.importer}:{one.line}: the blueprint {face(source.module(one.importer))} imports the blueprint"
        f" {face(one.target)}. Move what two need down, into web/context.py or the domain."
        for one in found
        if {face(source.module(one.importer)), face(one.target)} <= faces
        and face(source.module(one.importer)) != face(one.target)
    ]


def _makers_of_blueprints(sources: Mapping[str, str]) -> list[str]:
    return [
        path
        for path, text in sources.items()
        for node in ast.walk(source.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module == "flask" and "Blueprint" in {a.name for a in node.names}
    ]


def import_circles(sources: Mapping[str, str]) -> list[str]:
    """Each module that reaches itself by imports, with a shortest way."""
    known, targets = {source.module(path) for path in sources}, defaultdict(set)
    for found in source.imports(sources):
        if found.target in known:
            targets[source.module(found.importer)].add(found.target)
    ways = ((start, _way_back(start, targets)) for start in sorted(targets))
    return [f"{' -> '.join(way)}: a circle. Move what two of them need further up." for _, way in ways if way]


def _way_back(start: str, targets: Mapping[str, set[str]]) -> list[str]:
    ways, seen = [[start]], set[str]()
    for way in ways:
        for target in sorted(targets.get(way[-1], ())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []


SOURCES = source.files()


def test_every_module_has_a_level() -> None:
    missing = [module for module in map(source.module, SOURCES) if entry(module) is None]
    assert not missing, f"Add to LEVELS, where they are read: {', '.join(missing)}"


def test_every_level_names_something_that_exists() -> None:
    spoken_for = {entry(source.module(path)) for path in SOURCES}
    stale = [name for group in LEVELS for name in group if name not in spoken_for]
    assert not stale, f"Remove from LEVELS, since no module is meant: {', '.join(stale)}"


def test_a_module_imports_only_from_above() -> None:
    wrong = upward_imports(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_no_imports_go_in_a_circle() -> None:
    wrong = import_circles(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_door() -> None:
    wrong = wrong_doors(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_no_door_stands_open_for_nobody() -> None:
    used = {(found.library, found.importer) for found in source.imports(SOURCES)}
    unused = [
        f"{library}: {pattern}"
        for library, patterns in DOORS.items()
        for pattern in patterns
        if not any(name == library and fnmatch(importer, pattern) for name, importer in used)
    ]
    assert not unused, f"Remove from DOORS: {', '.join(unused)}"


def test_only_settings_reads_the_environment() -> None:
    wrong = environment_reads(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_only_the_composition_root_knows_the_development_parts() -> None:
    wrong = [
        f"{found.importer}:{found.line}: imports {found.target}. Only bff/app.py may, in development."
        for found in source.imports(SOURCES)
        if package(found.target) == "bff.dev" and not fnmatch(found.importer, "bff/dev/*")
    ]
    assert [line for line in wrong if not line.startswith("bff/app.py:")] == [], "\n".join(wrong)
    assert wrong, "bff/app.py no longer loads bff.dev: then nobody does, and this test should go"


def test_blueprints_do_not_import_each_other() -> None:
    wrong = blueprint_imports(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_no_import_is_hidden() -> None:
    wrong = hidden_imports(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_what_is_imported_is_pinned() -> None:
    files = [source.ROOT / name for name in ("requirements.txt", "requirements-fast.txt")]
    pinned = {line.partition("==")[0].lower() for file in files for line in file.read_text().splitlines()}
    distributions = {"gunicorn_h1c": ["gunicorn_h1c"], **packages_distributions()}  # which may be missing
    third_party = {found.library for found in source.imports(SOURCES) if source.is_third_party(found)}
    wrong = {library for library in third_party if not pinned & {name.lower() for name in distributions[library]}}
    assert not wrong, f"Pin in requirements.txt: {', '.join(sorted(wrong))}"


def test_the_rules_see_what_they_forbid() -> None:
    """Each rule against a small source that breaks it, so that a rule that went blind is noticed."""
    kv = {"bff/kv/bad.py": "def f():\n    from bff.web import auth\n", "bff/web/auth.py": ""}
    assert "bff/kv/bad.py:2: imports bff.web.auth" in upward_imports(kv)[0]
    relative = {"bff/kv/bad.py": "from ..web import auth\n", "bff/web/auth.py": ""}
    assert "bff/kv/bad.py:1: imports bff.web.auth" in upward_imports(relative)[0]
    assert upward_imports({"bff/sessions/bad.py": "import bff.login.flow\n"})
    assert not upward_imports({"bff/sessions/good.py": "import bff.kv, bff.sessions.model, json\n"})

    inside = {"bff/observability/traces.py": "from bff.observability import logs\n", "bff/observability/logs.py": ""}
    assert "bff/observability/traces.py:1: imports bff.observability.logs" in upward_imports(inside)[0]
    downwards = {"bff/observability/logs.py": "import bff.observability.traces\n", "bff/observability/traces.py": ""}
    assert not upward_imports(downwards)
    circle = {f"bff/{a}.py": f"from bff import {b}\n" for a, b in (("one", "two"), ("two", "three"), ("three", "two"))}
    assert [text.partition(":")[0] for text in import_circles(circle)] == [
        "bff.three -> bff.two -> bff.three",
        "bff.two -> bff.three -> bff.two",
    ]

    assert "whose door is bff/http/*" in wrong_doors({"bff/oidc/bad.py": "def f():\n    import requests.adapters\n"})[0]
    assert "no door" in wrong_doors({"bff/oidc/bad.py": "import httpx\n"})[0]
    assert environment_reads({"bff/bad.py": "import os\nx = os.environ['A']\n"})
    assert environment_reads({"bff/bad.py": "from os import getenv\n"})
    assert hidden_imports({"bff/bad.py": "import importlib\n"})
    assert hidden_imports({"bff/bad.py": "__import__('redis')\n"})
    two = {
        "bff/web/a.py": "from flask import Blueprint\nfrom bff.web import b\n",
        "bff/web/b.py": "from flask import Blueprint\n",
    }
    assert "bff/web/a.py:2" in blueprint_imports(two)[0]
