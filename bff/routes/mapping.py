"""Builds a route's question to the policy: resource type, action, id and properties, taken from the request.

A request from which the question cannot be made is denied, and the code is the reason. Nothing of the request is
quoted.
"""

from collections.abc import Mapping
from typing import Any

from bff.errors import AccessDenied
from bff.pdp.model import NOTHING, ResourceAction, properties
from bff.routes import content
from bff.routes.jsonpath import MISSING, Selector, TooDeep
from bff.routes.path import CONTROL
from bff.routes.property import LARGEST, Property
from bff.settings import AuthzMap

EVERY = "*"
"""The id in a question about a type as a whole; no resource can have it."""
LONGEST_ID = 1024


class AuthzMapping:
    """An authz_map, compiled. properties: of the resource. needs_body: whether the question needs the request's
    body."""

    def __init__(self, settings: AuthzMap | None) -> None:
        """settings: None to deny every request. Raises ValueError for a bad JSONPath."""
        self._settings = settings
        self._id = Selector(settings.id_from) if settings and settings.id_from else None
        self.properties = [Property(*each) for each in settings.props] if settings else []
        selectors = [self._id] if self._id else []
        self._parts = {part for each in [*selectors, *(one.selector for one in self.properties)] for part in each.parts}
        self.needs_body = "body" in self._parts

    def asked(
        self, params: Mapping[str, str], query: str, body: bytes | None, content_type: str, content_encoding: str
    ) -> ResourceAction:
        """The question. params: decoded values of the path. query: raw. body: None where none was read.

        Raises AccessDenied: no_mapping, query_ambiguous, body_*, id_missing, id_invalid, property_missing,
        property_invalid."""
        if self._settings is None:
            raise AccessDenied("No policy question is declared for this address.", code="no_mapping")
        document: dict[str, Any] = {"path": params}
        if "query" in self._parts:
            document["query"] = content.parameters(query)
        if self.needs_body:
            document["body"] = content.json_body(body, content_type, content_encoding)
        try:
            return ResourceAction(
                self._settings.resource, self._settings.action, self._id_in(document), self._props(document)
            )
        except (TooDeep, RecursionError) as err:
            raise AccessDenied("The body is nested too deeply.", code="body_not_json") from err

    def _id_in(self, document: Mapping[str, Any]) -> str:
        if self._id is None:
            return EVERY
        value = self._id.one(document)
        if value is MISSING:
            raise AccessDenied("The request does not name its resource.", code="id_missing")
        if isinstance(value, list) and "query" in self._id.parts:
            raise AccessDenied("A parameter that names one thing stands twice.", code="query_ambiguous")
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
            return str(value)
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or value == EVERY or CONTROL.search(value):
            raise AccessDenied("The request names something that cannot be a resource's id.", code="id_invalid")
        return value

    def _props(self, document: Mapping[str, Any]) -> str:
        if not self.properties:
            return NOTHING
        found = {each.name: each.value(document) for each in self.properties}
        return properties({name: value for name, value in found.items() if value is not MISSING})
