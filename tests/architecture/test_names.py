"""One name for one thing: no class is called as another one, and a class that judges input says so."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping

from tests.architecture import source

MARSHMALLOWS_OWN = "Meta"  # options of a schema, inside of it


def classes(sources: Mapping[str, str]) -> Iterator[tuple[str, ast.ClassDef]]:
    for path, text in sources.items():
        for node in ast.walk(source.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name != MARSHMALLOWS_OWN:
                yield path, node


def shared_names(sources: Mapping[str, str]) -> list[str]:
    places = defaultdict(list)
    for path, node in classes(sources):
        places[node.name].append(f"{path}:{node.lineno}")
    return [
        f"{name}: {', '.join(found)}. Call each by what it is, in the field's own term."
        for name, found in sorted(places.items())
        if len(found) > 1
    ]


def schemas(sources: Mapping[str, str]) -> set[str]:
    """Classes that are marshmallow's Schema by any number of steps."""
    bases = {node.name: {_last(base) for base in node.bases} for _, node in classes(sources)}
    found = {"Schema"}
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    return found - {"Schema"}


def _last(base: ast.expr) -> str:
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")


def misnamed_schemas(sources: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: a schema; let its name end in Schema."
        for name in sorted(schemas(sources))
        if not name.endswith("Schema")
    ]


SOURCES = source.files()


def test_no_two_classes_have_one_name() -> None:
    wrong = shared_names(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_every_schema_is_called_one() -> None:
    assert len(schemas(SOURCES)) >= 20
    wrong = misnamed_schemas(SOURCES)
    assert not wrong, "\n".join(wrong)


def test_the_rules_see_what_they_forbid() -> None:
    two = {"bff/a.py": "class One: ...\n", "bff/b.py": "def f():\n    class One: ...\n"}
    assert shared_names(two) == ["One: bff/a.py:1, bff/b.py:2. Call each by what it is, in the field's own term."]
    assert not shared_names({"bff/a.py": "class A:\n    class Meta: ...\nclass B:\n    class Meta: ...\n"})
    steps = {
        "bff/a.py": "class Strict(Schema): ...\n",
        "bff/b.py": "class Route(a.Strict): ...\nclass Other(Base): ...\n",
    }
    assert [text.partition(":")[0] for text in misnamed_schemas(steps)] == ["Route", "Strict"]
