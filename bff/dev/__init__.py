"""Development only: an embedded OpenID Provider, a sample API and a demo page.

Without any configuration these three show the whole product in one process. `bff.app` imports this package in
development only; it never loads in production.
"""

from collections.abc import Callable, Collection

from flask import Flask

from bff.dev import demo, provider, sample_api
from bff.kv import KeyValue
from bff.settings import ProviderSettings

__all__ = ["register"]


def register(
    app: Flask,
    kv: KeyValue,
    embedded: ProviderSettings | None,
    base_url: str,
    clock: Callable[[], float],
    return_origins: Collection[str] = (),
) -> None:
    """Mounts everything below /dev, and the demo page at /. Opens no connection, so it may run before a fork.

    embedded: the provider to run in this process; None when the settings name another one. return_origins: origins that
    a login may return to besides base_url.
    """
    if embedded is not None:
        app.register_blueprint(provider.blueprint(kv, embedded, base_url, clock, return_origins))
    app.register_blueprint(sample_api.blueprint(kv, clock))
    app.register_blueprint(demo.blueprint(base_url))
