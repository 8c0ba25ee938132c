"""A tiny API to protect: the orders of whoever is logged in.

Nothing here asks who is calling, and that is the point: the pipeline in front of every view demands a session, and a
CSRF token on unsafe methods, before a view runs.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bff.crypto import random_id
from bff.errors import BadRequest
from bff.kv import Batch, KeyValue

ORDERS_LIFE = 24 * 3600
MOST_ORDERS = 100


class _OrderSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    item = fields.String(required=True, validate=validate.Length(min=1, max=80))
    quantity = fields.Integer(strict=True, load_default=1, validate=validate.Range(min=1, max=99))


class Orders:
    """Each user's orders in one index: the member is the order itself, its score the moment it came."""

    def __init__(self, kv: KeyValue, clock: Callable[[], float]) -> None:
        self._kv = kv
        self._clock = clock

    def of(self, sub: str) -> list[dict[str, Any]]:
        """Newest first."""
        found = self._kv.index_range(_index(sub), -math.inf, math.inf, MOST_ORDERS)
        return [json.loads(member) for member, _ in reversed(found)]

    def add(self, sub: str, item: str, quantity: int) -> dict[str, Any]:
        if self._kv.index_count(_index(sub), -math.inf, math.inf) >= MOST_ORDERS:
            raise BadRequest(f"This demo keeps {MOST_ORDERS} orders a day.", code="too_many_orders")
        now = self._clock()
        order = {"id": random_id()[:8], "item": item, "quantity": quantity, "ordered_at": int(now)}
        self._kv.execute(Batch().index_add(_index(sub), json.dumps(order), now, ttl=ORDERS_LIFE))
        return order


def blueprint(kv: KeyValue, clock: Callable[[], float]) -> Blueprint:
    orders = Orders(kv, clock)
    routes = Blueprint("dev_api", __name__, url_prefix="/dev/api")

    @routes.get("/orders")
    def list_orders() -> Response:
        return jsonify({"customer": g.session.user.name, "orders": orders.of(g.session.user.sub)})

    @routes.post("/orders")
    def add_order() -> tuple[Response, int]:
        wanted = _validated(request.get_json(silent=True))
        return jsonify(orders.add(g.session.user.sub, wanted["item"], wanted["quantity"])), 201

    return routes


def _validated(body: Any) -> dict[str, Any]:
    try:
        wanted: dict[str, Any] = _OrderSchema().load(body)
    except ValidationError as err:
        wrong = (f"{name}: {messages[0]}" for name, messages in err.messages_dict.items())
        raise BadRequest(" ".join(wrong), code="invalid_order") from err
    return wanted


def _index(sub: str) -> str:
    return f"dev:orders:{sub}"
