"""Canaille on loopback with everything in memory, run by the Python that it is installed for, not by the BFF's.

Environment: HOST, PORT, CLIENTS (a JSON list of client metadata), PEOPLE (a JSON list of user attributes).
"""

import json
import os
import secrets

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from flask import Flask
from joserfc.jwk import RSAKey
from werkzeug.serving import run_simple

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])


def application() -> Flask:
    key = RSAKey.generate_key(2048, {"alg": "RS256", "use": "sig"}, auto_kid=True)
    app: Flask = create_app(
        config={
            "ENV_FILE": None,
            "SECRET_KEY": secrets.token_urlsafe(),
            "SERVER_NAME": f"{HOST}:{PORT}",
            "PREFERRED_URL_SCHEME": "http",
            "CANAILLE": {
                "DATABASE": "memory",
                "JAVASCRIPT": False,
                "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}},
            },
            # nobody is trusted, so that everybody is asked for consent
            "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)], "TRUSTED_DOMAINS": []},
        }
    )
    return app


def register(metadata: dict[str, object]) -> None:
    client = models.Client(**metadata)
    Backend.instance.save(client)
    client.audience = [client]  # only who is saved can be named; these may introspect its tokens
    Backend.instance.save(client)


if __name__ == "__main__":
    app = application()
    with app.app_context():
        for person in json.loads(os.environ["PEOPLE"]):
            Backend.instance.save(models.User(**person))
        for client in json.loads(os.environ["CLIENTS"]):
            register(client)
    run_simple(HOST, PORT, app, threaded=True)
