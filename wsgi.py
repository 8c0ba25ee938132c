"""WSGI entry point: `gunicorn -c gunicorn.conf.py wsgi:app`.

Under another server, call `bff.app.start(app)` in each process that serves, after any fork.
"""

from flask import Flask

from bff import configuration, settings
from bff.app import create_app
from bff.observability import logs


def load() -> Flask:
    """Builds the app from the configuration that gunicorn.conf.py has read in this process.

    Under another server it reads the environment and the configuration files now.
    """
    running = configuration.master.running
    current = running.settings if running else settings.load()
    logs.configure(current.log_level)
    return create_app(current)


app = load()
