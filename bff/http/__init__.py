"""Outbound HTTP: the only package that knows `requests`."""

from bff.http.client import MAX_BODY, HttpClient, Response
from bff.http.wsgi import WsgiApp, WsgiTransport

__all__ = ["MAX_BODY", "HttpClient", "Response", "WsgiApp", "WsgiTransport"]
