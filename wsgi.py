"""What a WSGI server imports: `gunicorn -c gunicorn.conf.py wsgi:app`.

Under another server, call `bff.app.start(app)` in each process that serves, after any fork.
"""

from flask import Flask

from bff import settings
from bff.app import create_app
from bff.observability import logs


def load() -> Flask:
    """The app as the environment and the configuration files describe it now."""
    current = settings.load()
    logs.configure(current.log_level)
    return create_app(current)


app = load()
