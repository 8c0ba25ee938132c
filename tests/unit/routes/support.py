"""Routes without a file around them."""

from typing import Any

from bff.routes import RouteTable
from bff.settings import AuthzMap, RouteSettings


def route(path: str, name: str = "", **values: Any) -> RouteSettings:
    """A route to the service `s`, with its path for an id unless it has a name."""
    if isinstance(values.get("methods"), str):
        values["methods"] = tuple(values["methods"].split())
    return RouteSettings(name or path, path, "s", **values)


def table(*paths: str, **values: Any) -> RouteTable:
    return RouteTable([route(path, **values) for path in paths])


def asking(path: str, id_from: str | None = None, /, **props: str) -> RouteSettings:
    """A route that may be read and written, and asks the policy."""
    asked = AuthzMap("orders", "write", id_from, tuple(props.items()))
    return route(path, methods="GET POST", authz=True, authz_map=asked)
