"""Outbound HTTP: the only package that knows `requests`."""

from bff.http.client import MAX_BODY, HttpClient, Response
from bff.http.exchange import AnswerBroken, Incoming, Outgoing, head
from bff.http.upstream import HttpUpstream, Upstream
from bff.http.watch import Watcher
from bff.http.wsgi import WsgiApp, WsgiTransport, WsgiUpstream

__all__ = [
    "MAX_BODY", "AnswerBroken", "HttpClient", "HttpUpstream", "Incoming", "Outgoing", "Response", "Upstream", "Watcher",
    "WsgiApp", "WsgiTransport", "WsgiUpstream", "head",
]  # fmt: skip
