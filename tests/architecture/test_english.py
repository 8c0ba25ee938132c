"""The English of docstrings, comments and documents: a subject that is named, by the words that stand where it is not.

A worker, a client, a provider or an operator does a thing; "who", "nobody" and "it is told" leave the reader to find
out which. Each family of words is counted in each thousand sentences, and its worst files and lines are shown.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.architecture.source import ROOT

MOST = 5.0
"""In a thousand sentences; code that is known for its documentation has 0 to 5."""
WORST = 10
FAMILIES = {
    "who, whoever": re.compile(r"\b(?:who|whom|whose|who(?:m|so)?ever)\b", re.IGNORECASE),
    "nobody, somebody": re.compile(r"\b(?:no|some|any|every)body\b", re.IGNORECASE),
    "tell, say": re.compile(r"\b(?:tell|tells|told|telling|say|says|said|saying)\b", re.IGNORECASE),
    "what, whatever as a subject": re.compile(r"(?:^|; |: |\. )(?:what|whatever)\b(?![^.?]*\?)", re.IGNORECASE),
}
SENTENCES = re.compile(r"(?<=[.!?])\s+")
CODE = re.compile(r"```.*?```|`[^`]*`|<[^>]+>", re.DOTALL)


class Sentence(NamedTuple):
    path: Path
    line: int
    text: str


def modules() -> list[Path]:
    return sorted((ROOT / "bff").rglob("*.py"))


def docstrings() -> Iterator[Sentence]:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield from sentences(path, node.lineno, node.value.value)


def comments() -> Iterator[Sentence]:
    for path in modules():
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa", "# fmt:")):
                yield from sentences(path, token.start[0], token.string.lstrip("# "))


def documents() -> Iterator[Sentence]:
    for path in [
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
        *(ROOT / "docs").rglob("*.md"),
    ]:
        text = CODE.sub(lambda found: re.sub(r"[^\n]+", "", found[0]), path.read_text())
        for number, line in enumerate(text.splitlines(), 1):
            yield from sentences(path, number, line)


def sentences(path: Path, line: int, text: str) -> Iterator[Sentence]:
    """Of a text that begins in that line."""
    place = 0
    for sentence in SENTENCES.split(text.strip()):
        if re.search(r"\w{2}", sentence):
            start = max(0, text.find(sentence, place))
            yield Sentence(path, line + text.count("\n", 0, start), " ".join(sentence.split()))
        place += len(sentence)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("source", [docstrings, comments, documents], ids=lambda source: str(source.__name__))
def test_the_subject_is_named(source: object, family: str) -> None:
    assert callable(source)
    every = list(source())
    found = [one for one in every if FAMILIES[family].search(one.text)]
    share = 1000 * len(found) / len(every)
    files = Counter(str(one.path.relative_to(ROOT)) for one in found).most_common(WORST)
    shown = "\n".join(f"{one.path.relative_to(ROOT)}:{one.line}: {one.text[:160]}" for one in found[:WORST])
    assert share < MOST, f"{family}: {share:.1f} in a thousand sentences\n{files}\n{shown}"


def test_a_sentence_without_a_subject_is_found() -> None:
    bad = {
        "who, whoever": "Whoever asks again waits.",
        "nobody, somebody": "Somebody else wrote both.",
        "tell, say": "It is told once.",
        "what, whatever as a subject": "What is left over is dropped.",
    }
    assert all(FAMILIES[family].search(text) for family, text in bad.items())
    assert not any(words.search("The worker retries once, and drops the rest.") for words in FAMILIES.values())
