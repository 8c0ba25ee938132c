"""Outbound HTTP: the only package that knows `requests`."""

from requests.adapters import BaseAdapter as Adapter

from bff.http.client import MAX_BODY, HttpClient, Response
from bff.http.exchange import AnswerBroken, Incoming, Outgoing, head
from bff.http.upstream import HttpUpstream, Upstream
from bff.http.watch import Watcher

__all__ = [
    "MAX_BODY", "Adapter", "AnswerBroken", "HttpClient", "HttpUpstream", "Incoming", "Outgoing", "Response", "Upstream",
    "Watcher", "head",
]  # fmt: skip
