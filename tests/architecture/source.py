"""The product's own source as data: which file imports what, and in which line."""

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OURS = frozenset({"bff", "wsgi"})
parse = functools.cache(ast.parse)


class Import(NamedTuple):
    """target: the imported module's full name, as exactly as the source tells it."""

    importer: str
    line: int
    target: str

    @property
    def library(self) -> str:
        return self.target.partition(".")[0]


def files() -> dict[str, str]:
    """Source text by path, such as bff/breaker.py: everything that runs in production or development."""
    paths = [*ROOT.glob("bff/**/*.py"), ROOT / "wsgi.py", ROOT / "gunicorn.conf.py"]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(paths)}


def module(path: str) -> str:
    """bff/kv/__init__.py is bff.kv; gunicorn.conf.py, which nobody imports, is gunicorn.conf."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(sources: Mapping[str, str]) -> list[Import]:
    """Every import statement, those inside functions and under TYPE_CHECKING too."""
    known = {module(path) for path in sources}
    return [found for path, text in sources.items() for found in _imports(path, text, known)]


def _imports(path: str, text: str, known: set[str]) -> Iterator[Import]:
    for node in ast.walk(parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield Import(path, node.lineno, name if name in known else base)


def _absolute(path: str, node: ast.ImportFrom) -> str:
    package = module(path) if path.endswith("__init__.py") else module(path).rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def is_third_party(found: Import) -> bool:
    return found.library not in sys.stdlib_module_names and found.library not in OURS


def calls(sources: Mapping[str, str]) -> Iterator[tuple[str, ast.Call]]:
    """(the last name of what is called, the call), for every call in the source."""
    for text in sources.values():
        for node in ast.walk(parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                yield node.func.id if isinstance(node.func, ast.Name) else node.func.attr, node


def strings(sources: Mapping[str, str]) -> set[str]:
    """Every string literal."""
    trees = (parse(text) for text in sources.values())
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
