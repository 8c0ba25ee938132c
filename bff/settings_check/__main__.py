"""Command line: prints every problem of the settings, or the effective settings, their hash, and the fleet's keys."""

import logging
import sys
import time
from typing import Any

from bff import services as service_layer
from bff import settings
from bff.crypto import Keyring
from bff.errors import StoreUnavailable
from bff.rotation import Rotation, sealed_sessions
from bff.settings import Settings
from bff.settings_check import EX_CONFIG, masked, problems, report
from bff.settings_hash import hash_of


def main() -> int:
    config = settings.load()
    found = problems(config)
    if found:
        sys.stderr.write(report(found) + "\n")
        return EX_CONFIG
    told = {**masked(config), **_to_register(config), "configuration_hash": hash_of(config), **_secrets(config)}
    for name, value in told.items():
        sys.stdout.write(f"{name}: {value}\n")
    return 0


def _to_register(config: Settings) -> dict[str, Any]:
    """The URIs to register at each provider."""
    return {
        "redirect_uris": config.redirect_uris,
        "post_logout_redirect_uri": f"{config.base_url}/",
        "backchannel_logout_uri": f"{config.base_url}/auth/backchannel-logout",
        "frontchannel_logout_uri": f"{config.base_url}/auth/frontchannel-logout",
    }


def _secrets(config: Settings) -> dict[str, Any]:
    """The fleet's step of a rotation, and the secret that sealed the live sessions."""
    if not config.store.redis_url and not config.store.path.exists():
        return {"secrets_of_the_fleet": "none; nothing has served from this store yet"}
    logging.getLogger("bff").addHandler(logging.NullHandler())  # the output below reports failures
    kv = service_layer.open_store(config, time.time)
    keys = Keyring(config.secrets)
    rotation = Rotation(kv, keys, service_layer.longest_life(config), time.time)
    try:
        kv.start()
        rotation.look()
        return {"secrets_of_the_fleet": rotation.report(), "sessions_sealed_by": sealed_sessions(kv, keys, time.time())}
    except StoreUnavailable:
        return {"secrets_of_the_fleet": "unknown; the store does not answer"}
    finally:
        kv.close()


if __name__ == "__main__":
    raise SystemExit(main())
