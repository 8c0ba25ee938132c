"""BFFs with a policy, and those who ask them: by AuthZEN as a service does, or as a browser application does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey
from werkzeug.test import Client, TestResponse

from bff.dev.in_process import WsgiTransport
from bff.http import HttpClient
from bff.pdp.authzen import Authzen
from bff.pdp.credential import FixedBearer
from bff.settings import Files, PdpSettings, PolicyFiles, Settings
from bff.settings.pdp import policy_files
from tests.clock import Clock
from tests.flows.internet import BFF, Site, site
from tests.flows.issued import access_token

TIMEOUT = 10.0
SERVICE = "service"


def with_pdp(**settings: Any) -> Any:
    """A change of the settings for `site`."""

    def change(given: Settings) -> Settings:
        folder = settings.get("policies", given.pdp.policies.folder)
        return replace(given, pdp=replace(given.pdp, **{**settings, "policies": read(folder)}))

    return change


def policies(folder: Path, **texts: str) -> Path:
    """A folder of *.cedar files."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.cedar").write_text(text)
    return folder


def read(folder: Path) -> PolicyFiles:
    return policy_files(folder, Files())


def services_own_token(bff: Site) -> str:
    """A token of a client that speaks for itself, so about anybody."""
    return access_token(bff.idp, sub=SERVICE, client_id=SERVICE)


def asked(bff: Site, path: str, body: Any, token: str, headers: Mapping[str, str] | None = None) -> TestResponse:
    """By a service."""
    return Client(bff.app.wsgi_app, use_cookies=False).post(
        path, base_url=BFF, json=body, headers={"Authorization": f"Bearer {token}", **(headers or {})}
    )


@contextmanager
def authzen_client(folder: Path, clock: Clock, rules: Path, roles_property: str) -> Iterator[Authzen]:
    """The BFF's own client, asking a BFF in this process that has Cedar for its policy."""
    key = RSAKey.generate_key(2048, {"kid": "first", "alg": "RS256", "use": "sig"})
    pdp = PdpSettings(policies=read(rules), roles_property=roles_property)
    bff = site(folder, clock, key, change=lambda settings: replace(settings, pdp=pdp))
    http = HttpClient("pdp", timeout=TIMEOUT, whole=True, adapter=WsgiTransport({BFF: bff.app.wsgi_app}))
    yield Authzen(BFF, TIMEOUT, http, FixedBearer(services_own_token(bff)))
    http.close()
    bff.services.close()
