"""config/routes.yaml, compiled: the route of a request, and its question to the policy.

The path is matched as the client sent it and forwarded as the client sent it (ADR 12).
"""

from bff.routes.mapping import AuthzMapping
from bff.routes.path import check_query, decoded_path
from bff.routes.problems import problems
from bff.routes.route import Route
from bff.routes.table import Match, RouteTable

__all__ = ["AuthzMapping", "Match", "Route", "RouteTable", "check_query", "decoded_path", "problems"]
