"""One route, compiled: everything that does not depend on the request is computed once, here."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bff.routes.mapping import AuthzMapping
from bff.settings import RouteSettings
from bff.settings.template import Template, name_of, parse

_LITERAL = "!$&'()*+,=:@"
"""Characters that a segment may hold unencoded (RFC 3986 section 3.3), besides those that `quote` keeps."""


@dataclass(frozen=True, slots=True)
class Route:
    """mapping: builds the question to the policy; None for a route without one."""

    settings: RouteSettings
    template: Template
    mapping: AuthzMapping | None
    _upstream: str | None
    _order: tuple[int, ...]

    def target(self, path: str, values: Sequence[str]) -> str:
        """The raw path for the service. path, values: raw, from `Match`."""
        if self._upstream is not None:
            return self._upstream % tuple([values[number] for number in self._order])
        return path if self.settings.preserve_path else path[path.index("/", 1) :]


def compiled(settings: RouteSettings) -> Route:
    """Raises ValueError for a mistake that `bff.routes.problems` reports."""
    template = parse(settings.path)
    mapping = AuthzMapping(settings.authz_map) if settings.authz else None
    if settings.upstream_path is None:
        return Route(settings, template, mapping, None, ())
    upstream = parse(settings.upstream_path)
    order = tuple(template.names.index(name) for name in upstream.names)
    return Route(settings, template, mapping, _pattern(upstream), order)


def _pattern(template: Template) -> str:
    """The path with `%s` for each raw value."""
    raw = ["%s" if name_of(each) is not None else _quoted(each).replace("%", "%%") for each in template.segments]
    return "/" + "/".join(raw)


def _quoted(segment: str) -> str:
    return quote(segment, safe=_LITERAL)


def sent_as_written(template: Template) -> bool:
    """Whether clients send every literal segment as in the template, so that it matches without decoding."""
    return all(name_of(each) is not None or _quoted(each) == each for each in template.segments)
