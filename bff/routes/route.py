"""One route, compiled: everything about it that does not depend on the request is worked out here."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from bff.routes.mapping import AuthzMapping
from bff.settings import RouteSettings
from bff.settings.template import Template, name_of, parse

_LITERAL = "!$&'()*+,=:@"
"""What a segment may hold as it is (RFC 3986 section 3.3), besides what `quote` leaves alone."""


@dataclass(frozen=True, slots=True)
class Route:
    """mapping: what the policy is asked; None for a route about which it is not asked."""

    settings: RouteSettings
    template: Template
    mapping: AuthzMapping | None
    _upstream: str | None
    _order: tuple[int, ...]

    def target(self, path: str, values: Sequence[str]) -> str:
        """The raw path to send. path, values: raw, as `Match` has them."""
        if self._upstream is not None:
            return self._upstream % tuple([values[number] for number in self._order])
        return path if self.settings.preserve_path else path[path.index("/", 1) :]


def compiled(settings: RouteSettings) -> Route:
    """Raises ValueError for what `bff.routes.problems` reports."""
    template = parse(settings.path)
    mapping = AuthzMapping(settings.authz_map) if settings.authz else None
    if settings.upstream_path is None:
        return Route(settings, template, mapping, None, ())
    upstream = parse(settings.upstream_path)
    order = tuple(template.names.index(name) for name in upstream.names)
    return Route(settings, template, mapping, _pattern(upstream), order)


def _pattern(template: Template) -> str:
    """With `%s` where a raw value goes."""
    raw = ["%s" if name_of(each) is not None else _quoted(each).replace("%", "%%") for each in template.segments]
    return "/" + "/".join(raw)


def _quoted(segment: str) -> str:
    return quote(segment, safe=_LITERAL)


def sent_as_written(template: Template) -> bool:
    """Whether a client sends every literal segment as the template has it, so that it is found without decoding."""
    return all(name_of(each) is not None or _quoted(each) == each for each in template.segments)
