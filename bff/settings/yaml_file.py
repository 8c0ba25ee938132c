"""Parser of one YAML file of the configuration folder: keeps the line of each value, and reports every mistake at once.

It expands `${VAR}` and `${VAR:-default}`, then schemas check the parts. PyYAML silently keeps the last of two equal
keys; this parser reports both.
"""

import difflib
import re
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml
from marshmallow import EXCLUDE, Schema, ValidationError, validates_schema

from bff.settings.files import Files

At = tuple[Any, ...]
"""The position of a value: the keys and list positions that lead to it."""
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_NO_SUCH_KEY = "There is no such key."
SECRETS = frozenset({"client_secret", "client_key", "bearer", "invalidation_token"})
"""Keys of secrets: their values are never shown."""

_LONGEST = 80
_MOST_NODES = 200_000  # an alias stands for its whole anchor, and an alias of aliases multiplies that
_MARSHMALLOWS_OWN = ("key", "value", "_schema")


class StrictSchema(Schema):
    """A mapping with these keys and no others; a message for an unknown key suggests the closest known one."""

    class Meta:
        unknown = EXCLUDE

    error_messages = {"type": "must be a mapping."}  # noqa: RUF012 - marshmallow's own name

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _knows_its_keys(self, _: Any, original: Any, **__: Any) -> None:
        known = [field.data_key or name for name, field in self.fields.items()]
        unknown = [key for key in original if key not in known] if isinstance(original, dict) else []
        if unknown:
            raise ValidationError({key: [no_such("key", key, known)] for key in unknown})


def no_such(kind: str, name: Any, known: list[str]) -> str:
    """A sentence that lists the known names, and suggests the closest one."""
    close = difflib.get_close_matches(str(name), known, n=1)
    guess = f" Did you mean {close[0]}?" if close else ""
    there = f" There {'are' if len(known) > 1 else 'is'} {', '.join(known)}." if known else ""
    return f"There is no such {kind}.{guess}{there}"


class YamlFile:
    """content: the file's mapping, `{}` when it is absent or unreadable. problems: a sentence for each mistake with its
    line.

    No method raises: a wrong value is left out and reported.
    """

    def __init__(self, path: Path, environ: Mapping[str, str], files: Files) -> None:
        self.path = path
        self._files = files
        self._said: list[tuple[int, str]] = []
        self._lines: dict[At, int] = {}
        self._nodes = 0
        self._raw: Any = {}  # so that reading can report problems
        self._raw = self._read()
        try:
            self.content: dict[str, Any] = self._expanded(self._raw, environ, ())
        except RecursionError:
            self.content = {}
            self._say(": holds itself, or is nested too deeply.")

    @property
    def problems(self) -> list[str]:
        """The problems in the order of lines."""
        return [text for _, text in sorted(self._said, key=itemgetter(0))]

    def say(self, at: At, sentence: str, *, show: bool = True) -> None:
        """Report a mistake. show: whether to quote the value, if it is a plain one."""
        where, line = ".".join(map(str, at)), self.line(at)
        sentence += self._found(at) if show else ""
        self._say(f":{line}: " + (f"{where}: " if where else "") + sentence, line)

    def _say(self, text: str, line: int = 0) -> None:
        self._said.append((line, f"{self.path}{text}"))

    def line(self, at: At) -> int:
        """The line of this key or list item, or of the closest one around it that has a line."""
        while at and at not in self._lines:
            at = at[:-1]
        return self._lines.get(at, 1)

    def section(self, name: str) -> dict[Any, Any]:
        """The mapping under a key of the file, `{}` where there is none."""
        value = self.content.get(name)
        return value if isinstance(value, dict) else {}

    def check(self, schema: Schema, value: Any, at: At = ()) -> dict[str, Any] | None:
        """The schema's result for a part of the file; None, with every mistake reported, when the part is invalid."""
        try:
            return dict(schema.load(value))
        except ValidationError as err:
            self._say_all(err.normalized_messages(), at)
            return None

    def _say_all(self, messages: Mapping[Any, Any], at: At) -> None:
        """Report marshmallow's tree of messages, without the words that marshmallow inserts between the keys."""
        for key, value in messages.items():
            here = at if key in _MARSHMALLOWS_OWN and (*at, key) not in self._lines else (*at, key)
            if isinstance(value, Mapping):
                self._say_all(value, here)
            else:
                sentence = " ".join(map(str, value))
                self.say(here, sentence, show=not sentence.startswith(_NO_SUCH_KEY))

    def _found(self, at: At) -> str:
        """The value, quoted, unless it may be a secret: by its key, from a variable, or within a URL."""
        value: Any = self._raw
        for key in at:
            held = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
            value = held.get(key)
        text = str(value)
        secret = not at or at[-1] in SECRETS or _VARIABLE.search(text) or ("://" in text and "@" in text)
        if secret or isinstance(value, dict | list | None):
            return ""
        return f" Found {text[:_LONGEST]!r}."

    def _read(self) -> Any:
        try:
            text = self._files.text(self.path)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as err:
            self._say(f": cannot be read ({type(err).__name__}).")
            return {}
        try:
            content = self._parsed(text)
        except (yaml.YAMLError, ValueError, RecursionError) as err:  # ValueError: a date such as 2026-02-30
            self._say(_not_yaml(err))
            return {}
        if not isinstance(content, dict):
            self._say(": must be a mapping.")
            return {}
        return content

    def _parsed(self, text: str) -> Any:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return {}
            self._note(node, (), ())
            return loader.construct_document(node) or {}
        finally:
            loader.dispose()

    def _note(self, node: yaml.Node, at: At, around: tuple[yaml.Node, ...]) -> None:
        """Record the lines of a node's children, and report duplicate keys. around: the enclosing nodes, since
        YAML's aliases can make a node contain itself."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise ValueError("too much of it")
        if node in around:
            return
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._lines[*at, position] = item.start_mark.line + 1
                self._note(item, (*at, position), (*around, node))
        if isinstance(node, yaml.MappingNode):
            self._note_keys(node, at)
            for key, value in node.value:
                self._note(value, (*at, _plain(key)), (*around, node))

    def _note_keys(self, node: yaml.MappingNode, at: At) -> None:
        first: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = _plain(key), key.start_mark.line + 1
            self._lines[*at, name] = line
            if name in first:
                self.say((*at, name), f"The key stands twice, in line {first[name]}, too.", show=False)
            first.setdefault(name, line)

    def _expanded(self, node: Any, environ: Mapping[str, str], at: At) -> Any:
        if isinstance(node, dict):
            return {key: self._expanded(value, environ, (*at, key)) for key, value in node.items()}
        if isinstance(node, list):
            return [self._expanded(value, environ, (*at, position)) for position, value in enumerate(node)]
        if not isinstance(node, str):
            return node

        def value(match: re.Match[str]) -> str:
            name, default = match.groups()
            if environ.get(name):
                return environ[name]
            if default is None:
                self.say(at, f"the environment variable {name} is not set.", show=False)
            return default or ""

        return _VARIABLE.sub(value, node)


def _plain(key: yaml.Node) -> Any:
    """A key as the content has it, for the kinds of scalars that serve as keys."""
    if not isinstance(key, yaml.ScalarNode):
        return str(key.start_mark)
    if key.tag.endswith((":int", ":bool")):
        return yaml.safe_load(key.value)
    return key.value


def _not_yaml(err: Exception) -> str:
    """A sentence without PyYAML's own message, which may quote a value."""
    mark = getattr(err, "problem_mark", None)
    if mark is None:
        return ": is not YAML; it cannot be parsed."
    hint = "A text that holds { } [ ] , : # ? or begins with * & ! % @ needs quotes."
    return f":{mark.line + 1}: is not YAML, from column {mark.column + 1} on. {hint}"
