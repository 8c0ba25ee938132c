"""Schema of config/routes.yaml: the services behind the BFF, and the routes that lead to them."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from bff.settings.files import Files
from bff.settings.model import (
    PDP,
    USER_TOKEN,
    Auth,
    AuthzMap,
    OnError,
    RouteSettings,
    ServiceSettings,
    TokenKind,
    UpstreamSettings,
)
from bff.settings.service_schema import TOKEN_KEYS, UPSTREAM_KEYS, ServiceSchema
from bff.settings.template import parse
from bff.settings.yaml_fields import ALIAS, EMBEDDED, ROUTE_ID, SECONDS, Limit, Methods, PathTemplate, Size, WordList
from bff.settings.yaml_file import At, StrictSchema, YamlFile, no_such

FILE = "routes.yaml"
EMBEDDED_API_PATH = "/dev/api"


class AuthzMapSchema(StrictSchema):
    resource = fields.String(required=True, validate=validate.Length(min=1))
    action = fields.String(required=True, validate=validate.Length(min=1))
    id_from = fields.String()
    props = fields.Dict(keys=fields.String(), values=fields.String())


class RouteSchema(StrictSchema):
    id = fields.String(required=True, validate=ROUTE_ID)
    path = PathTemplate(within="/api/", required=True)
    service = fields.String(required=True)
    methods = Methods(validate=validate.Length(min=1))
    auth = fields.Enum(Auth, by_value=True)
    authz = fields.String(validate=validate.OneOf(["none", "pdp"]))
    authz_map = fields.Nested(AuthzMapSchema)
    on_error = fields.Enum(OnError, by_value=True)
    upstream_path = PathTemplate()
    preserve_path = fields.Boolean()
    streaming = fields.Boolean()
    navigable = fields.Boolean()
    timeout = fields.Float(validate=SECONDS)
    body_limit = Size()
    rate_limit = Limit()
    scopes = WordList()

    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _fits_together(self, data: Mapping[str, Any], original: Any, **_: Any) -> None:
        given = original.keys() if isinstance(original, dict) else set()
        wrong = {name: [sentence] for name, sentence in _misfits(data, given)}
        if wrong:
            raise ValidationError(wrong)


def _misfits(data: Mapping[str, Any], given: Any) -> Iterator[tuple[str, str]]:
    """(key, sentence) for keys that contradict each other. data: values that are valid alone. given: the keys
    written."""
    if "authz" not in given or "authz" in data:
        asks = data.get("authz") == "pdp"
        yield from (
            (name, "goes with authz: pdp only.") for name in ("authz_map", "on_error") if name in given and not asks
        )
        if asks and data.get("auth") is Auth.NONE:
            yield "authz", "pdp decides about a session or a token, and auth: none requires neither."
    if data.get("auth") is Auth.NONE and "scopes" in given:
        yield "scopes", "are a token's, and auth: none asks for none."
    if data.get("navigable") and data.get("auth", Auth.SESSION) is not Auth.SESSION:
        yield "navigable", "goes with auth: session only; without a session any page may send a browser here."
    if data.get("navigable") and not {"GET", "HEAD"} & set(data.get("methods", ["GET"])):
        yield "navigable", "needs GET or HEAD among the methods; a link sends nothing else."
    if data.get("preserve_path") and "upstream_path" in given:
        yield "upstream_path", "contradicts preserve_path: true; keep one of them."
    if "path" in data and "upstream_path" in data:
        names = parse(data["path"]).names
        if lacking := [name for name in parse(data["upstream_path"]).names if name not in names]:
            yield "upstream_path", f"uses {', '.join(lacking)}, which is no name of path."


class RoutesFileSchema(StrictSchema):
    services = fields.Dict(
        keys=fields.String(
            validate=[
                ALIAS,
                validate.NoneOf([USER_TOKEN], error="names the session's own token."),
                validate.NoneOf([PDP], error="names the policy decision point."),
            ]
        )
    )
    routes = fields.List(fields.Raw())


class DeclaredRoutes:
    """The valid declarations of the file. problems: a sentence for each invalid one."""

    def __init__(self, folder: Path, environ: Mapping[str, str], files: Files, embedded_url: str | None) -> None:
        """embedded_url: of the sample API; None outside development."""
        self._file = YamlFile(folder / FILE, environ, files)
        self._embedded_url = embedded_url
        self._file.check(RoutesFileSchema(), self._file.content)
        self._names = [str(name) for name in self._file.section("services")]
        self._broken: set[str] = set()
        self.services: dict[str, ServiceSettings] = {}
        self.upstreams: dict[str, UpstreamSettings] = {}
        for name, content in self._file.section("services").items():
            self._service(name, content)
        items = self._file.content.get("routes")
        found = [self._route(number, item) for number, item in enumerate(items if isinstance(items, list) else [])]
        self.routes = tuple(route for route in found if route is not None)

    @property
    def problems(self) -> list[str]:
        return self._file.problems

    def _service(self, name: str, content: Any) -> None:
        at = ("services", name)
        values = self._file.check(ServiceSchema(), content, at)
        if values is None:
            self._broken.add(name)
            return
        token = {key: value for key, value in values.items() if key in TOKEN_KEYS}
        self.services[name] = ServiceSettings(id=name, line=self._file.line(at), **token)
        if "base_url" in values:
            upstream = {key: value for key, value in values.items() if key in UPSTREAM_KEYS}
            base_url = self._base_url(values["base_url"], (*at, "base_url"))
            self.upstreams[name] = UpstreamSettings(name, base_url, line=self._file.line(at), **upstream)

    def _base_url(self, base_url: str, at: At) -> str:
        if base_url != EMBEDDED:
            return base_url
        if self._embedded_url is None:
            self._file.say(
                at,
                "embedded is the sample API, which there is in development only; name your service's own address, or"
                " point BFF_CONFIG_DIR to a folder of your own.",
            )
            return base_url
        return self._embedded_url + EMBEDDED_API_PATH

    def _route(self, number: int, content: Any) -> RouteSettings | None:
        at = ("routes", number)
        values = self._file.check(RouteSchema(), content, at)
        if isinstance(content, dict):
            for key, sentence in self._strangers(content):
                self._file.say((*at, key), sentence)
        return None if values is None else _route(values, self._file.line(at))

    def _strangers(self, route: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(key, sentence) for keys that contradict the service that the route names."""
        name, auth = route.get("service"), route.get("auth", Auth.SESSION)
        if not isinstance(name, str) or name in self._broken:
            return
        if name not in self.services:
            yield "service", no_such("service", name, self._names)
        elif name not in self.upstreams:
            yield "service", "has no base_url, so nothing can be sent to it."
        elif auth in (Auth.BEARER, Auth.NONE):
            yield from _without_session(str(auth), self.services[name].token)


def _without_session(auth: str, token: TokenKind) -> Iterator[tuple[str, str]]:
    """A problem if the service's token comes from a session that the route does not require. A caller's own Bearer
    token is passed on, where the service accepts the user's."""
    if token is TokenKind.EXCHANGE or (token is TokenKind.USER and auth == Auth.NONE):
        yield "auth", f"{auth} has no session to take the service's token from (token: {token})."


def _route(values: dict[str, Any], line: int) -> RouteSettings:
    if "authz_map" in values:
        mapped = values["authz_map"]
        values["authz_map"] = AuthzMap(**{**mapped, "props": tuple(mapped.get("props", {}).items())})
    if "rate_limit" in values:
        values["rate_limit"] = replace(values["rate_limit"], name=values["id"])
    values["authz"] = values.get("authz") == "pdp"
    return RouteSettings(line=line, **values)
