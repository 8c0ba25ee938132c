"""The BFF with a view that the policy guards, as a proxied call would be, and a policy decision point of the test's."""

import os
import time
from dataclasses import replace

from flask import g, jsonify
from werkzeug.wrappers import Response

from bff import settings
from bff.app import create_app
from bff.errors import AccessDenied
from bff.observability import logs
from bff.pdp.model import Asked, Subject, properties
from bff.web import context
from bff.web.context import services
from bff.web.policy import policy

_settings = settings.load()
logs.configure(_settings.log_level)
_pdp = replace(
    _settings.pdp,
    base_url=os.environ["TEST_PDP"],
    timeout=float(os.environ["TEST_PDP_TIMEOUT"]),
    allow_ttl=float(os.environ["TEST_PDP_TTL"]),
    roles_property="cerbos.roles",
)
app = create_app(replace(_settings, pdp=_pdp))
_NOBODY = Subject("user", "alice", properties({"cerbos.roles": []}))


@app.get("/test/pages/<name>")
@policy(session=False, csrf=False)
def page(name: str) -> Response:
    """Whether it was let through, why not, and how many seconds it took to know."""
    start, code = time.perf_counter(), ""
    try:
        services().guard.require(
            _NOBODY,
            Asked("pages", "read", name),
            client_address=context.client().address,
            correlation_id=g.correlation_id,
            route="test",
            user=_NOBODY.id,
        )
    except AccessDenied as err:
        code = err.code
    return jsonify(code=code, seconds=time.perf_counter() - start, worker=os.getpid())
