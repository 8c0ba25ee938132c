"""werkzeug redirects a path with a slash too many or too few by itself, to whatever Host says. Here it is not found."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from werkzeug.test import Client

from bff import settings
from bff.app import create_app
from tests.flows.internet import Site, SiteFactory

EVIL = "evil.example"
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
OURS = re.compile(r"^https://(?:app|idp)\.example/")


@pytest.fixture
def bff(new_site: SiteFactory) -> Site:
    made: Site = new_site()
    return made


def spellings(bff: Site) -> Iterator[str]:
    """Each path of ours with slashes doubled at each place, added and left out."""
    for rule in sorted({rule.rule for rule in bff.app.url_map.iter_rules()}):
        path = re.sub(r"<[^>]*>", "x", rule)
        yield from (path[:place] + "/" + path[place:] for place, sign in enumerate(path) if sign == "/")
        yield from (path + "/", path + "//", path.rstrip("/"), "//" + EVIL + path, path.replace("/", "//"))


@pytest.mark.parametrize("host", [EVIL, f"{EVIL}:8443", "app.example"])
def test_no_spelling_of_a_path_leads_to_the_host_of_the_request(bff: Site, host: str) -> None:
    client, asked = Client(bff.app.wsgi_app, use_cookies=False), 0
    for path in spellings(bff):
        for method in METHODS:
            answer = client.open(
                method=method, base_url=f"https://{host}", environ_overrides={"PATH_INFO": path, "RAW_URI": path}
            )
            assert EVIL not in answer.headers.get("Location", ""), (method, path)
            assert answer.status_code not in (301, 307, 308), (method, path)
            asked += 1
    assert asked > 500


@pytest.mark.parametrize(
    "path",
    ["/auth//session", "//auth/session", "//metrics", "///auth/verify", "/auth/session/", "/health//live", "/metrics/"],
)
def test_a_slash_too_many_is_another_path(bff: Site, path: str) -> None:
    answer = Client(bff.app.wsgi_app).get(base_url=f"https://{EVIL}", environ_overrides={"PATH_INFO": path})
    assert (answer.status_code, answer.get_json(force=True)["code"]) == (404, "not_found")


@pytest.mark.parametrize("environ", [{}, {"BFF_BASE_URL": "http://127.0.0.1:8000"}])
def test_no_rule_of_development_redirects_either(tmp_path: Path, environ: Mapping[str, str]) -> None:
    app = create_app(settings.load({"BFF_DATA_DIR": str(tmp_path), **environ}, tmp_path))
    redirecting = [rule for rule in app.url_map.iter_rules() if rule.merge_slashes or rule.redirect_to]
    ending = [
        rule
        for rule in app.url_map.iter_rules()
        if rule.strict_slashes and rule.rule.endswith("/") and rule.rule != "/"
    ]
    assert (redirecting, ending) == ([], [])
