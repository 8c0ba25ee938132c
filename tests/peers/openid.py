"""A real OpenID Provider (panva's oidc-provider under Node.js), clients registered with it, and a browser to log in.

It listens on 127.0.0.2, because cookies ignore ports: on the BFF's own address each would receive the other's cookies.
"""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

import requests
from joserfc.jwk import ECKey

from tests.peers import install, process

FOLDER = Path(__file__).parent / "oidc_provider"
HOST = "127.0.0.2"
SCOPES = "openid profile email roles offline_access"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
MAX_STEPS = 20
TIMEOUT = 10
NODE_MAJOR = 20
NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "User-Agent": "a browser made for tests"}
INTROSPECTOR = {
    "client_id": "introspector",
    "client_secret": "i" * 32,
    "token_endpoint_auth_method": "client_secret_post",
    "grant_types": [],
    "response_types": [],
    "redirect_uris": [],
}


@dataclass(frozen=True)
class Client:
    """A registration: what the provider is told about the BFF, and the variables that tell the BFF."""

    metadata: dict[str, Any] = field(repr=False)
    environ: dict[str, str] = field(repr=False)

    @property
    def secret(self) -> str:
        return self.environ.get("AUTH_CLIENT_SECRET") or self.environ["AUTH_CLIENT_KEY"]


def client(
    client_id: str,
    base_url: str,
    *,
    method: str = "client_secret_basic",
    require_par: bool = False,
    grants: Sequence[str] = (),
    dpop: bool = False,
    backchannel_logout_uri: str = "",
    secret: str = "",
) -> Client:
    """A client for a BFF at base_url; method is client_secret_basic, client_secret_post or private_key_jwt (ES256).

    grants: more grant types, such as TOKEN_EXCHANGE and client_credentials. dpop: no token without a proof (RFC 9449).
    backchannel_logout_uri: receives logout tokens with `sid`. secret: instead of one that must be encoded to be sent.
    """
    metadata: dict[str, Any] = {
        "client_id": client_id,
        "redirect_uris": [f"{base_url}/auth/callback"],
        "post_logout_redirect_uris": [base_url, f"{base_url}/"],
        "grant_types": ["authorization_code", "refresh_token", *grants],
        "token_endpoint_auth_method": method,
        "require_pushed_authorization_requests": require_par,
        "dpop_bound_access_tokens": dpop,
    }
    if backchannel_logout_uri:
        metadata |= {"backchannel_logout_uri": backchannel_logout_uri, "backchannel_logout_session_required": True}
    environ = {"AUTH_CLIENT_ID": client_id, "TOKEN_AUTH_METHOD": method, "OIDC_SCOPES": SCOPES}
    if method == "private_key_jwt":
        key = ECKey.generate_key("P-256", {"alg": "ES256", "use": "sig"}, auto_kid=True)
        metadata |= {"jwks": {"keys": [key.as_dict(private=False)]}, "token_endpoint_auth_signing_alg": "ES256"}
        environ["AUTH_CLIENT_KEY"] = json.dumps(key.as_dict(private=True))
    else:
        metadata["client_secret"] = environ["AUTH_CLIENT_SECRET"] = secret or f"{client_id}+%/ secret:{'s' * 32}"
    return Client(metadata, environ)


Fault = Literal["status", "garbage", "html", "cut", "delay", "delay_answer", "lose_answer"]


@dataclass(frozen=True)
class Provider:
    """address: where it listens itself, when the issuer is a proxy in front of it."""

    issuer: str
    address: str

    def requests(self, endpoint: str) -> int:
        """How often one `METHOD /path status` or `POST /token grant_type status` was answered.

        A grant type that is a URN goes by its last word; a request that was cut off has the status `cut`.
        """
        count: int = self._get("stats")["requests"].get(endpoint, 0)
        return count

    def logged_in(self) -> int:
        """Sessions of people at the provider itself."""
        count: int = self._get("stats")["sessions"]
        return count

    def secrets(self) -> dict[str, list[str]]:
        """Every state, nonce, code, verifier and token that passed so far, by parameter name."""
        found: dict[str, list[str]] = self._get("secrets")
        return found

    def rotate_keys(self) -> None:
        self._post("rotate")

    def fail(self, path: str, *, status: int, times: int = 1) -> None:
        """Answer the next requests to a path with status."""
        self.disturb(path, "status", status=status, times=times)

    def disturb(self, path: str, kind: Fault, *, times: int = 1, status: int = 0, delay: float = 0) -> None:
        """Let the next requests to a path go wrong; several faults of one path come one after the other.

        status, garbage (not JSON), html (a page with 200) and cut (no answer) happen instead of the request; it is done
        after delay seconds with delay, and before the delay with delay_answer; lose_answer does it and never answers.
        """
        self._post("fault", path=path, kind=kind, times=times, status=status, delay_ms=round(delay * 1000))

    def held(self) -> int:
        """Requests that a delay holds right now."""
        count: int = self._get("stats")["held"]
        return count

    def heal(self) -> None:
        """Forget every fault, and end the delays that last."""
        self._post("heal")

    def revoke(self, person: str) -> None:
        """End a person's sessions at the provider and take back every grant, code and token, telling nobody."""
        self._post("revoke", sub=person)

    def is_active(self, token: str) -> bool:
        """Introspection (RFC 7662)."""
        credentials = {name: INTROSPECTOR[name] for name in ("client_id", "client_secret")}
        answer = requests.post(
            f"{self.address}/token/introspection", data={"token": token, **credentials}, timeout=TIMEOUT
        )
        active: bool = answer.json()["active"]
        return active

    def _get(self, name: str) -> Any:
        return requests.get(f"{self.address}/_test/{name}", timeout=TIMEOUT).json()

    def _post(self, name: str, **query: Any) -> None:
        requests.post(f"{self.address}/_test/{name}", params=query, timeout=TIMEOUT).raise_for_status()


@contextmanager
def running(
    clients: Sequence[Client],
    *,
    log: Path | None = None,
    autologin: bool = False,
    userinfo_only: bool = False,
    access_token_ttl: int = 300,
    rotate: bool = True,
    revocation: bool = True,
    dpop_nonces: bool = False,
    default_resource: str = "",
    port: int | None = None,
    issuer: str = "",
) -> Iterator[Provider]:
    """autologin: nobody is asked, `login_hint` or alice logs in. userinfo_only: ID tokens carry no profile claims.

    access_token_ttl: seconds. rotate: each use of a refresh token gives a new one, and using the old one again takes
    back the whole grant. revocation: tokens can be revoked (RFC 7009). dpop_nonces: every DPoP proof needs a nonce of
    the provider's. default_resource: what requests that name no resource (RFC 8707) are about; without it they get an
    opaque token for userinfo. port: on HOST, chosen beforehand. issuer: the address of a proxy that forwards there.
    """
    node = _node()
    install.npm(FOLDER)
    port = port or process.free_port(HOST)
    address = f"http://{HOST}:{port}"
    env = {
        "HOST": HOST,
        "PORT": str(port),
        "ISSUER": issuer or address,
        "CLIENTS": json.dumps([INTROSPECTOR, *(one.metadata for one in clients)]),
        "AUTOLOGIN": str(int(autologin)),
        "USERINFO_ONLY": str(int(userinfo_only)),
        "ACCESS_TOKEN_TTL": str(access_token_ttl),
        "ROTATE": str(int(rotate)),
        "REVOCATION": str(int(revocation)),
        "DPOP_NONCES": str(int(dpop_nonces)),
        "DEFAULT_RESOURCE": default_resource,
    }
    with process.running([node, FOLDER / "server.mjs"], port=port, host=HOST, env=env, log=log):
        yield Provider(issuer or address, address)


@cache
def _node() -> str:
    node = shutil.which("node")
    if node is None:
        install.unavailable("oidc-provider", f"Node.js {NODE_MAJOR} or later is needed")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < NODE_MAJOR:
        install.unavailable("oidc-provider", f"Node.js {NODE_MAJOR} or later is needed, this is {version.strip()}")
    return node


class Browser(requests.Session):
    """A browser without scripts: it keeps cookies per host, takes one step at a time, and fills in forms."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.update(NAVIGATION)

    def open(self, url: str) -> requests.Response:
        return self.get(url, allow_redirects=False, timeout=TIMEOUT)

    def walk(self, url: str, until: str, **fields: str) -> str:
        """Follow redirects and submit forms from url on; the first address that starts with `until`, not opened."""
        for _ in range(MAX_STEPS):
            if url.startswith(until):
                return url
            answer = self.open(url)
            if answer.status_code == 200:
                action, hidden = form(answer.text)
                answer = self.post(
                    urljoin(url, action), data={**fields, **hidden}, allow_redirects=False, timeout=TIMEOUT
                )
            if "Location" not in answer.headers:
                raise AssertionError(f"{answer.status_code} from {answer.url}: {answer.text[:500]}")
            url = urljoin(answer.url, answer.headers["Location"])
        raise AssertionError(f"still not at {until} after {MAX_STEPS} steps, but at {url}")


def form(page: str) -> tuple[str, dict[str, str]]:
    """A page's only form: its action, empty for the page's own address, and its hidden fields."""
    tag = re.search(r"<form[^>]*>", page)
    if tag is None:
        raise AssertionError(f"no form in {page[:500]}")
    action = re.search(r'\saction="([^"]*)"', tag[0])
    fields = (
        dict(re.findall(r'(name|value)="([^"]*)"', tag)) for tag in re.findall(r'<input[^>]*type="hidden"[^>]*>', page)
    )
    return html.unescape(action[1] if action else ""), {
        one["name"]: html.unescape(one.get("value", "")) for one in fields
    }
