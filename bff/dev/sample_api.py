"""Sample resource server behind the BFF: the orders of each user, opened by the access token that the proxy adds.

It runs in this process, yet it treats the BFF as any service would: it reads no session, no cookie, no identity header.
A Bearer token is its only credential (RFC 6750), and the token's subject selects the orders. It checks no roles,
because the BFF authorises a request before it gets here, by `authz: pdp` in config/routes.yaml and
config/policies/orders.cedar.
"""

import json
import math
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from bff.crypto import random_id
from bff.errors import BadRequest, NoSuchRoute
from bff.kv import Batch, KeyValue
from bff.web.bearer import presented_token
from bff.web.policy import policy

ORDERS_LIFE = 24 * 3600
MOST_ORDERS = 100


class _OrderSchema(Schema):
    class Meta:
        unknown = EXCLUDE

    item = fields.String(required=True, validate=validate.Length(min=1, max=80))
    quantity = fields.Integer(required=True, strict=True, validate=validate.Range(min=1, max=99))


class Orders:
    """Each customer's orders in one index: the member is the order itself, its score the time of its arrival."""

    def __init__(self, kv: KeyValue, clock: Callable[[], float]) -> None:
        self._kv = kv
        self._clock = clock

    def of(self, customer: str) -> list[dict[str, Any]]:
        """The customer's orders, newest first."""
        found = self._kv.index_range(_index(customer), -math.inf, math.inf, MOST_ORDERS)
        return [json.loads(member) for member, _ in reversed(found)]

    def one(self, customer: str, order_id: str) -> dict[str, Any]:
        """One order. Raises NoSuchRoute, also for another customer's order."""
        for order in self.of(customer):
            if order["id"] == order_id:
                return order
        raise NoSuchRoute("You have no such order.", code="no_such_order")

    def add(self, customer: str, item: str, quantity: int) -> dict[str, Any]:
        """Adds an order. Raises BadRequest when there are too many already."""
        if self._kv.index_count(_index(customer), -math.inf, math.inf) >= MOST_ORDERS:
            raise BadRequest(f"This demo keeps {MOST_ORDERS} orders a day.", code="too_many_orders")
        now = self._clock()
        order = {"id": random_id()[:8], "item": item, "quantity": quantity, "ordered_at": int(now)}
        self._kv.execute(Batch().index_add(_index(customer), json.dumps(order), now, ttl=ORDERS_LIFE))
        return order


def blueprint(kv: KeyValue, clock: Callable[[], float]) -> Blueprint:
    orders = Orders(kv, clock)
    routes = Blueprint("dev_api", __name__, url_prefix="/dev/api")

    @routes.get("/orders")
    @policy(session=False, csrf=False)
    def list_orders() -> Response:
        token = presented_token()
        return jsonify({"customer": token.sub, "orders": orders.of(token.arn)})

    @routes.get("/orders/<order_id>")
    @policy(session=False, csrf=False)
    def read_order(order_id: str) -> Response:
        return jsonify(orders.one(presented_token().arn, order_id))

    @routes.post("/orders")
    @policy(session=False, csrf=False)
    def add_order() -> tuple[Response, int]:
        token = presented_token()
        wanted = _validated(request.get_json(silent=True))
        return jsonify(orders.add(token.arn, wanted["item"], wanted["quantity"])), 201

    return routes


def _validated(body: Any) -> dict[str, Any]:
    try:
        wanted: dict[str, Any] = _OrderSchema().load(body)
    except ValidationError as err:
        wrong = (f"{name}: {messages[0]}" for name, messages in err.messages_dict.items())
        raise BadRequest(" ".join(wrong), code="invalid_order") from err
    return wanted


def _index(customer: str) -> str:
    return f"dev:orders:{customer}"
