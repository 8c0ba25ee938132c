"""The BFF's own keys, published for providers, and replaced without a login that fails."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, RSAKey

from bff.keys import key_file
from bff.keys.signing import PUBLISHED_BEFORE
from tests.clock import Clock
from tests.flows.internet import ISSUER, Site, SiteFactory, login, to_callback
from tests.flows.provider import OpenIdProvider

URL = "/.well-known/jwks.json"


def published(bff: Site) -> list[dict[str, Any]]:
    answer = bff.browser().fetch(URL)
    assert answer.status_code == 200
    found: list[dict[str, Any]] = answer.get_json(force=True)["keys"]
    return found


def test_there_may_be_no_keys(bff: Site) -> None:
    answer = bff.browser().fetch(URL)
    assert (answer.status_code, answer.get_json(force=True)) == (200, {"keys": []})
    assert answer.content_type == "application/jwk-set+json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_registrations_keys_are_published_once(new_site: SiteFactory, tmp_path: Path, clock: Clock) -> None:
    shared, own = ECKey.generate_key("P-256"), RSAKey.generate_key(2048)
    registrations: dict[str, ECKey | RSAKey] = {"a": shared, "b": shared, "c": own}
    (tmp_path / "config").mkdir()
    (tmp_path / "config/idps.yaml").write_text(
        json.dumps(
            {
                "providers": {
                    alias: {
                        "issuer": f"https://{alias}.example",
                        "client_id": "bff",
                        "user_id": "arn",
                        "token_auth_method": "private_key_jwt",
                        "client_key": json.dumps(key.as_dict(private=True)),
                    }
                    for alias, key in registrations.items()
                }
            }
        )
    )
    bff = new_site({alias: OpenIdProvider(f"https://{alias}.example", own, clock) for alias in registrations})
    assert [key["kid"] for key in published(bff)] == [shared.thumbprint(), own.thumbprint()]
    assert {name for key in published(bff) for name in key} == {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}


@pytest.fixture
def file(tmp_path: Path, clock: Clock) -> Path:
    path = tmp_path / "client-keys.json"
    path.write_text(key_file.new("ES256", clock()))
    return path


def signing_site(new_site: SiteFactory, file: Path, before: Site | None = None) -> Site:
    """A BFF that read the file now: what a reload makes of the one before it, at the same provider."""
    bff = new_site(
        before and before.providers,
        TOKEN_AUTH_METHOD="private_key_jwt",
        AUTH_CLIENT_KEY_FILE=str(file),
        AUTH_CLIENT_SECRET="",
    )
    bff.idp.client.method = "private_key_jwt"
    return bff


def fetched(bff: Site) -> KeySet:
    """What a provider gets that fetches our keys now."""
    return KeySet.import_key_set({"keys": published(bff)})


def test_logins_while_a_key_is_replaced(new_site: SiteFactory, file: Path, clock: Clock) -> None:
    def signed_with(bff: Site) -> object:
        bff.logged_in()
        return jws.extract_compact(bff.idp.last("token").form["client_assertion"].encode()).protected["kid"]

    bff = signing_site(new_site, file)
    bff.idp.client.public_key = fetched(bff)
    (old,) = (key["kid"] for key in published(bff))
    assert signed_with(bff) == old

    key_file.rotate(file, 2, clock())
    under_way = bff.browser()
    callback = to_callback(under_way)
    after = signing_site(new_site, file, bff)
    under_way.hosts = after.hosts
    assert under_way.navigate(callback, came_from=ISSUER).status_code == 302
    new, _ = (key["kid"] for key in published(after))
    assert signed_with(after) == old, "the provider does not know the new key yet"

    clock.now += PUBLISHED_BEFORE - 1
    after.idp.client.public_key = fetched(after)
    assert signed_with(after) == old
    clock.now += 1
    assert signed_with(after) == new

    clock.now += 30 * 24 * 3600
    key_file.rotate(file, 2, clock())
    last = signing_site(new_site, file, after)
    last.idp.client.public_key = fetched(last)
    assert signed_with(last) == new
    assert old not in {key["kid"] for key in published(last)}


def test_a_key_that_signs_unpublished_is_refused(new_site: SiteFactory, file: Path, clock: Clock) -> None:
    """What the wait is for: here the key is replaced at once."""
    bff = signing_site(new_site, file)
    bff.idp.client.public_key = fetched(bff)
    bff.logged_in()
    file.write_text(key_file.new("ES256", clock()))
    after = signing_site(new_site, file, bff)
    assert login(after.browser()).status_code == 400
