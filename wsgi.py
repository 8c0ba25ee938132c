"""What a WSGI server imports: `gunicorn -c gunicorn.conf.py wsgi:app`.

Under another server, call `bff.app.start(app)` in each process that serves, after any fork.
"""

from flask import Flask

from bff import configuration, settings
from bff.app import create_app
from bff.observability import logs


def load() -> Flask:
    """The app of the configuration that gunicorn.conf.py has read in this process; under another server, of what the
    environment and the configuration files say now."""
    running = configuration.master.running
    current = running.settings if running else settings.load()
    logs.configure(current.log_level)
    return create_app(current)


app = load()
