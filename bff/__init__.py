"""A Backend-for-Frontend: OAuth tokens stay on the server, the browser holds one opaque cookie (RFC 10017)."""

__version__ = "0.1.0"
