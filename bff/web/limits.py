"""Rate limits around views: who is counted, and what the answer says about it."""

from flask import Response, g

from bff.sessions.model import Session
from bff.web.context import client, services


def check(name: str, session: Session | None, *, hits: int = 1) -> None:
    """Count one request of a session, or of whoever sent the request. hits: as how many it counts, for a session.

    Raises RateLimited; StoreUnavailable when the store does not answer and the limit is declared closed.
    """
    limits = services().limits
    g.quota = limits.by_session(name, session.key, hits) if session else limits.by_address(name, client().address)


def tell(response: Response) -> None:
    """What is left of the limit that the request was counted for; beside what a service behind us says of its own."""
    quota = g.get("quota")
    for name, value in quota.headers() if quota else ():
        response.headers.add(name, value)
