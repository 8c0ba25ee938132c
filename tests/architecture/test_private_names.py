"""Private names of other packages: each that is read or overridden is listed, with where it is defined (ADR 57).

A name that a new version of its package no longer has fails by that name.
"""

import ast
import importlib
import inspect
import posixpath
import re
from collections import defaultdict

import pytest

from tests.architecture import source

# The file that leans on it, the name, and the module that defines it.
LEANINGS = {
    ("bff/http/deadline_adapter.py", "_dns_host", "urllib3.connection"),
    ("bff/http/deadline_adapter.py", "_new_conn", "urllib3.connection"),
    ("bff/observability/catalogue.py", "_labelnames", "prometheus_client.metrics"),
    ("bff/observability/catalogue.py", "_upper_bounds", "prometheus_client.metrics"),
    ("bff/observability/fast_metrics.py", "_buckets", "prometheus_client.metrics"),
    ("bff/observability/fast_metrics.py", "_metric_init", "prometheus_client.metrics"),
    ("bff/observability/fast_metrics.py", "_sum", "prometheus_client.metrics"),
    ("bff/observability/fast_metrics.py", "_upper_bounds", "prometheus_client.metrics"),
    ("bff/observability/fast_metrics.py", "_value", "prometheus_client.metrics"),
    ("bff/server/gevent.py", "_expected_100_continue", "gunicorn.http.message"),
    ("bff/server/gthread.py", "_expected_100_continue", "gunicorn.http.message"),
    ("bff/server/pools.py", "_work_queue", "concurrent.futures.thread"),
}
# Underscored, but documented: of named tuples, and librdkafka's own error codes.
PUBLIC = re.compile("_asdict|_replace|_fields|_make|_[A-Z_]+")


def leanings() -> set[tuple[str, str]]:
    """Private attributes by file, of which no class or module of the same package says what they are."""
    used, ours = set(), defaultdict(set)
    for path, text in source.files().items():
        package = posixpath.dirname(path)
        for node in ast.walk(source.parse(text)):
            match node:
                case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                    ours[package].add(name)
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                    ours[package].add(name)
                case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__"):
                    used.add((path, package, name))
    return {(path, name) for path, package, name in used if name not in ours[package] and not PUBLIC.fullmatch(name)}


def test_every_one_is_listed() -> None:
    found = leanings()
    assert ("bff/http/deadline_adapter.py", "_dns_host") in found, "the rule sees what it forbids"
    new = found - {(path, name) for path, name, _ in LEANINGS}
    assert not new, f"Take a public way, or list it with its reason in ADR 57: {sorted(new)}"


@pytest.mark.parametrize(("path", "name", "owner"), sorted(LEANINGS))
def test_every_one_is_still_there(path: str, name: str, owner: str) -> None:
    assert re.search(rf"\b{name}\b", source.files()[path]), f"{path} leans on {name} no more: remove it from the list"
    assert re.search(rf"\b{name}\b", inspect.getsource(importlib.import_module(owner))), f"{owner} has no {name}"
