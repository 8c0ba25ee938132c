"""Outbound HTTP: the only package that knows `requests`."""

from requests.adapters import BaseAdapter as Adapter

from bff.http.client import MAX_BODY, HttpClient, Response
from bff.http.disconnect import DisconnectMonitor
from bff.http.exchange import ResponseTruncated, UpstreamRequest, UpstreamResponse, head
from bff.http.upstream import HttpUpstream, Upstream

__all__ = [
    "MAX_BODY",
    "Adapter",
    "DisconnectMonitor",
    "HttpClient",
    "HttpUpstream",
    "Response",
    "ResponseTruncated",
    "Upstream",
    "UpstreamRequest",
    "UpstreamResponse",
    "head",
]  # fmt: skip
