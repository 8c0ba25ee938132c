"""The ASGI application that hypercorn runs. Its own addresses (`/_test/seen`, `/_test/forget`) it does not remember."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_seen: list[dict[str, Any]] = []


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"].startswith("/_test/"):
        await _answer(send, _seen)
        if scope["path"] == "/_test/forget":
            _seen.clear()
    else:
        _seen.append(_told(scope))
        await (_echo_messages if scope["type"] == "websocket" else _echo)(scope, receive, send)


def _told(scope: dict[str, Any]) -> dict[str, Any]:
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    path = scope["raw_path"].decode("latin-1")
    method = scope.get("method", "GET")
    return {
        "type": scope["type"],
        "method": method,
        "path": path,
        "version": scope["http_version"],
        "headers": fields,
    }


async def _echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """With the header fields that the query names."""
    while (await receive()).get("more_body"):
        pass
    fields = [(name.encode(), value.encode()) for name, value in parse_qsl(scope["query_string"].decode())]
    await _answer(send, _told(scope), fields)


async def _answer(send: Send, content: object, fields: list[tuple[bytes, bytes]] | None = None) -> None:
    body = json.dumps(content).encode()
    own = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": own + (fields or [])})
    await send({"type": "http.response.body", "body": body})


async def _echo_messages(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    while (event := await receive())["type"] != "websocket.disconnect":
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": event["text"]})


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return
