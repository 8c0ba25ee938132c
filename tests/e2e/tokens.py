"""The BFF with a view that needs a service's token, as a proxied call would, and with a clock that tests turn."""

import hashlib
import os
from pathlib import Path

from flask import Response, g, jsonify, request

from bff import settings
from bff.app import create_app
from bff.observability import logs
from bff.services import build
from bff.web.context import services
from tests.peers.clock import SharedClock

_settings = settings.load()
logs.configure(_settings.log_level)
app = create_app(services=build(_settings, clock=SharedClock(Path(os.environ["TEST_CLOCK"]))))


@app.get("/test/token")
def token() -> Response:
    """What opens ?service=, by default the session's own token: everything about it but its value."""
    usable = services().tokens.service.ensure_token(g.session, request.args.get("service", settings.USER_TOKEN))
    assert usable is not None
    end = usable.token.expires_at
    return jsonify(
        digest=hashlib.sha256(usable.token.value.encode()).hexdigest()[:16],
        token_type=usable.token.token_type,
        expires_in=None if end is None else end - services().clock(),
    )
