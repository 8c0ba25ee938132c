"""Rate limits around views: selects the client to count, and adds the quota to the answer's headers."""

from flask import Response, g

from bff.sessions.model import Session
from bff.web.context import client, services


def check(name: str, session: Session | None, *, hits: int = 1) -> None:
    """Counts one request of a session, or else of the client's address. hits: as how many it counts, for a session.

    Raises RateLimited; StoreUnavailable when the store does not answer and the limit is closed.
    """
    limits = services().limits
    g.quota = limits.by_session(name, session.key, hits) if session else limits.by_address(name, client().address)


def tell(response: Response) -> None:
    """Adds the rest of the limit that counted this request, beside a service's own such headers."""
    quota = g.get("quota")
    for name, value in quota.headers() if quota else ():
        response.headers.add(name, value)
