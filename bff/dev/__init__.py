"""Development only: an embedded OpenID Provider, a sample API and a demo page.

With nothing configured these three make the whole product visible in one process. `bff.app` imports this package in
development only; nothing here ever loads in production.
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
    """Mount everything below /dev, and the demo page at /. Opens nothing, so it may run before a fork.

    embedded: the provider to run in this process; None when the settings name one elsewhere. return_origins: where a
    login may lead on to besides base_url.
    """
    if embedded is not None:
        app.register_blueprint(provider.blueprint(kv, embedded, base_url, clock, return_origins))
    app.register_blueprint(sample_api.blueprint(kv, clock))
    app.register_blueprint(demo.blueprint(base_url))
