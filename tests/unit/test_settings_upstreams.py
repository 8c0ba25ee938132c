"""config/routes.yaml: where services are and which routes lead to them, and every mistake in that with its line."""

import base64
import hashlib
from pathlib import Path

import pytest

from bff import settings, settings_check
from bff.settings import Auth, AuthzMap, OnError, RateLimit, RouteSettings, Settings, UpstreamSettings
from tests.peers import certificates

BASE = "id: a, path: /api/a, service: orders"
KEY = base64.b64encode(hashlib.sha256(b"k").digest()).decode()
SERVICES = """
services:
  orders: {base_url: "https://orders.example"}
  billing: {base_url: "https://billing.example", token: exchange, audience: billing}
  own: {base_url: "https://own.example", token: client_credentials}
  open: {base_url: "https://open.example", token: none}
  nowhere: {token: none}
"""


def load(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "routes.yaml").write_text(text)
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "all.cedar").write_text("permit(principal, action, resource);")
    return settings.load({"BFF_DATA_DIR": str(folder / "data"), "BFF_SECRETS": KEY, **environ}, folder)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Each from the line number on."""
    found = settings_check.problems(load(folder, text, **environ))
    assert all(line.startswith(f"{folder / 'routes.yaml'}:") for line in found), found
    return [line.removeprefix(f"{folder / 'routes.yaml'}:") for line in found]


def routes(folder: Path, *items: str) -> list[str]:
    """What is said of these routes, from the key on. BASE in them is a route that is right."""
    text = SERVICES + "routes:\n" + "".join(f"  - {item.replace('BASE', BASE)}\n" for item in items)
    return [line.partition(": ")[2] for line in problems(folder, text)]


def test_a_service_with_everything(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
services:
  orders:
    base_url: https://[2001:db8::1]:8443/v1/
    timeout: 2.5
    ca_file: /etc/ca.pem
    request_headers: [X-Tenant, Prefer]
    response_headers: X-Total-Count
  sample: {base_url: embedded}
""",
    )
    assert config.upstreams == (
        UpstreamSettings(
            "orders",
            "https://[2001:db8::1]:8443/v1",
            2.5,
            Path("/etc/ca.pem"),
            ("x-tenant", "prefer"),
            ("x-total-count",),
        ),
        UpstreamSettings("sample", "http://127.0.0.1:8000/dev/api"),
    )
    assert [(upstream.line, upstream.service) for upstream in config.upstreams] == [(3, "orders"), (9, "sample")]


@pytest.mark.parametrize(
    "url",
    [
        "orders.example", "ftp://a", "https://", "https://a?b=c", "https://a/?", "https://a#b", "https://u:p@a", "http://a:x",
        "https://a/../b", "https://a/%2e%2e/b", "https://a/.", "https://a//b", "https://a b", "https://a;b", "https://ä.example",
        "http://a:99999", "https://*.example", "Embedded", "http://[",
    ],
)  # fmt: skip
def test_what_is_no_base_url(tmp_path: Path, url: str) -> None:
    (problem,) = problems(tmp_path, f"services: {{a: {{base_url: '{url}'}}}}")
    assert problem.startswith("1: services.a.base_url: must be an http or https URL with at most a path")


@pytest.mark.parametrize("url", ["http://a", "https://A.example:8080/", "http://10.0.0.1:80/x/y", "http://svc-1"])
def test_what_is_a_base_url(tmp_path: Path, url: str) -> None:
    config = load(tmp_path, f"services: {{a: {{base_url: '{url}'}}}}")
    assert (settings_check.problems(config), config.upstreams[0].base_url) == ([], url.rstrip("/"))


def test_the_sample_api_is_for_development(tmp_path: Path) -> None:
    config = load(tmp_path, "services: {a: {base_url: embedded}}", ENVIRONMENT="staging")
    expected = f"{tmp_path}/routes.yaml:1: services.a.base_url: embedded is the sample API, which there is in"
    assert any(line.startswith(expected) for line in config.problems)


@pytest.mark.parametrize(
    "name",
    [
        "X-HTTP-Method-Override", "X-Method-Override", "X-Original-URL", "X-Rewrite-URL", "X-User-ID",
        "X-User-Any", "X-Forwarded-For", "X-Forwarded-Any", "Forwarded", "X-Real-IP", "Cookie", "Authorization",
        "Proxy-Authorization", "Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "TE", "Trailer",
        "Upgrade", "Host", "Via", "DPoP",
        "X-Session-ID", "X-Auth-Time", "X-CSRF-Token", "Expect", "Remote-User", "True-Client-IP",
    ],
)  # fmt: skip
def test_headers_that_a_client_must_not_choose(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, f"services: {{a: {{base_url: 'http://a', request_headers: [X-Tenant, {name}]}}}}")
    assert problem == (
        f"1: services.a.request_headers: {name.lower()} is for the BFF to set or to keep: a client must not choose it."
    )


@pytest.mark.parametrize(
    "name",
    [
        "X-Accel-Redirect", "X-Sendfile", "X-Envoy-Ratelimited", "Surrogate-Control", "CDN-Cache-Control",
        "Vercel-CDN-Cache-Control", "Fly-Replay", "Authorization", "WWW-Authenticate", "Set-Cookie", "Set-Cookie2",
        "Cookie", "DPoP-Nonce", "X-User-ID", "X-Auth-Request-User", "Remote-User", "X-Forwarded-User", "X-Session-ID",
        "Access-Control-Allow-Origin", "Strict-Transport-Security", "Clear-Site-Data", "Alt-Svc", "NEL", "Report-To",
        "Reporting-Endpoints", "Service-Worker-Allowed", "Connection", "Transfer-Encoding", "Content-Length", "Trailer",
        "Upgrade", "Proxy-Authenticate", "X-Correlation-ID", "X-Denied-Reason", "Timing-Allow-Origin", "Server",
    ],
)  # fmt: skip
def test_headers_that_a_service_must_not_choose(tmp_path: Path, name: str) -> None:
    (problem,) = problems(tmp_path, f"services: {{a: {{base_url: 'http://a', response_headers: [X-Page, {name}]}}}}")
    refusal = f"{name.lower()} is for the BFF to set or to keep: a service must not choose it."
    assert problem == f"1: services.a.response_headers: {refusal}"


@pytest.mark.parametrize("names", ["[X_User_ID]", "['a b']", "['']", "[5]", "5", "[X-A, X-A]"])
def test_what_are_no_names_of_headers(tmp_path: Path, names: str) -> None:
    (problem,) = problems(tmp_path, f"services: {{a: {{base_url: 'http://a', request_headers: {names}}}}}")
    assert problem.startswith("1: services.a.request_headers: ")


@pytest.mark.parametrize(
    "key", ["timeout: 5", "ca_file: /etc/ca.pem", "request_headers: [X-A]", "response_headers: [X-A]"]
)
def test_what_needs_a_base_url(tmp_path: Path, key: str) -> None:
    (problem,) = problems(tmp_path, f"services: {{a: {{{key}}}}}")
    assert problem.startswith(f"1: services.a.{key.partition(':')[0]}: needs a base_url")


def test_the_file_of_who_vouches_is_read(tmp_path: Path) -> None:
    made = certificates.make(tmp_path)
    text = "services: {a: {base_url: 'https://a', ca_file: '%s'}}"
    assert problems(tmp_path, text % made.certificate) == []
    (tmp_path / "no.pem").write_text("nothing")
    (missing,) = problems(tmp_path, text % "/nonexistent/ca.pem")
    assert missing == "1: services.a.ca_file: '/nonexistent/ca.pem' cannot be read (FileNotFoundError)."
    (empty,) = problems(tmp_path, text % (tmp_path / "no.pem"))
    assert empty.endswith("holds no certificate in PEM.")


def test_the_name_of_the_pdp_is_taken(tmp_path: Path) -> None:
    assert problems(tmp_path, "services: {pdp: {token: none}}") == ["1: services.pdp: names the policy decision point."]


def test_a_route_with_nothing_but_what_it_needs(tmp_path: Path) -> None:
    config = load(tmp_path, SERVICES + "routes:\n  - {id: orders-list, path: /api/orders, service: orders}\n")
    assert settings_check.problems(config) == []
    assert config.routes == (RouteSettings("orders-list", "/api/orders", "orders", line=9),)


def test_a_route_with_everything(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        SERVICES
        + """
routes:
  - id: orders_change
    path: /api/orders/{id}
    service: orders
    methods: PUT, PATCH
    auth: bearer
    authz: pdp
    authz_map:
      resource: orders
      action: write
      id_from: $.path.id
      props:
        region: $.query.region?
        amount: $.body.amount
    on_error: allow
    upstream_path: /orders/{id}/current
    streaming: true
    timeout: 90
    body_limit: 512KiB
    rate_limit: 20/minute
    scopes: orders:write orders:read
""",
    )
    assert settings_check.problems(config) == []
    assert config.routes == (
        RouteSettings(
            "orders_change",
            "/api/orders/{id}",
            "orders",
            methods=("PUT", "PATCH"),
            auth=Auth.BEARER,
            authz=True,
            authz_map=AuthzMap(
                "orders", "write", "$.path.id", (("region", "$.query.region?"), ("amount", "$.body.amount"))
            ),
            on_error=OnError.ALLOW,
            upstream_path="/orders/{id}/current",
            streaming=True,
            timeout=90.0,
            body_limit=512 * 1024,
            rate_limit=RateLimit("orders_change", 20, "minute"),
            scopes=("orders:write", "orders:read"),
            line=10,
        ),
    )


@pytest.mark.parametrize(
    ("size", "bytes_"), [("65536", 65536), ("'65536'", 65536), ("1KiB", 1024), ("10MiB", 10 << 20), ("1GiB", 1 << 30)]
)
def test_sizes(tmp_path: Path, size: str, bytes_: int) -> None:
    config = load(tmp_path, SERVICES + f"routes: [{{id: a, path: /api/a, service: orders, body_limit: {size}}}]")
    assert config.routes[0].body_limit == bytes_


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{id: a, path: /api/a}", "routes.0.service: Missing data for required field."),
        ("{path: /api/a, service: orders}", "routes.0.id: Missing data for required field."),
        ("{id: Orders, path: /api/a, service: orders}", "routes.0.id: must be a short lower-case name"),
        ("{id: a b, path: /api/a, service: orders}", "routes.0.id: must be a short lower-case name"),
        ("{BASE, pth: /api/b}", "routes.0.pth: There is no such key. Did you mean path? There are id, path,"),
        ("{id: a, path: /orders, service: orders}", "routes.0.path: must begin with /api/."),
        ("{id: a, path: /api, service: orders}", "routes.0.path: must begin with /api/."),
        ("{id: a, path: api/a, service: orders}", "routes.0.path: must begin with a slash."),
        ("{id: a, path: /api/a%20b, service: orders}", "routes.0.path: is written as it reads, not encoded, so '%'"),
        ("{id: a, path: '/api/a;b', service: orders}", "routes.0.path: is written as it reads, not encoded, so ';'"),
        ("{id: a, path: '/api/a?b', service: orders}", "routes.0.path: is written as it reads, not encoded, so '?'"),
        ("{id: a, path: '/api/a\\b', service: orders}", "routes.0.path: is written as it reads, not encoded, so"),
        ("{id: a, path: /api/a/../b, service: orders}", "routes.0.path: has a dot segment"),
        ("{id: a, path: /api//b, service: orders}", "routes.0.path: has an empty segment"),
        ("{id: a, path: '/api/*/b', service: orders}", "routes.0.path: has a * that is not its last segment."),
        ("{id: a, path: '/api/a*', service: orders}", "routes.0.path: has a segment 'a*'; there are literal ones,"),
        ("{id: a, path: '/api/{a}b', service: orders}", "routes.0.path: has a segment '{a}b'; there are literal ones,"),
        ("{id: a, path: '/api/{a-b}', service: orders}", "routes.0.path: has a segment '{a-b}'; there are literal"),
        ("{id: a, path: '/api/{a}/{a}', service: orders}", "routes.0.path: uses a name twice."),
        ("{id: a, path: 5, service: orders}", "routes.0.path: Not a valid string."),
        ("{BASE, methods: get}", "routes.0.methods: must be of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS."),
        ("{BASE, methods: [GET, GET]}", "routes.0.methods: names something twice."),
        ("{BASE, methods: []}", "routes.0.methods: Shorter than minimum length 1."),
        ("{BASE, methods: {GET: x}}", "routes.0.methods: must be words"),
        ("{BASE, auth: basic}", "routes.0.auth: Must be one of: session, bearer, none."),
        ("{BASE, authz: maybe}", "routes.0.authz: Must be one of: none, pdp."),
        ("{BASE, authz: pdp}", "route a: authz: pdp needs an authz_map that says what to ask"),
        ("{BASE, authz_map: {resource: a, action: b}}", "routes.0.authz_map: goes with authz: pdp only."),
        ("{BASE, authz: pdp, authz_map: {resource: a}}", "routes.0.authz_map.action: Missing data for required"),
        ("{BASE, authz: pdp, authz_map: {resource: a, action: b, id: c}}", "routes.0.authz_map.id: There is no such"),
        ("{BASE, authz: pdp, authz_map: 5}", "routes.0.authz_map: must be a mapping."),
        ("{id: a, path: /api/a, service: open, authz: pdp, auth: none, authz_map: {resource: a, action: b}}",
         "routes.0.authz: pdp decides about a session or a token, and auth: none requires neither."),
        ("{BASE, on_error: allow}", "routes.0.on_error: goes with authz: pdp only."),
        ("{BASE, upstream_path: '/{x}'}", "routes.0.upstream_path: uses x, which is no name of path."),
        ("{BASE, upstream_path: '/x/*'}", "routes.0.upstream_path: uses *, which is no name of path."),
        ("{BASE, upstream_path: /x, preserve_path: true}", "routes.0.upstream_path: contradicts preserve_path"),
        ("{BASE, upstream_path: /a/../b}", "routes.0.upstream_path: has a dot segment"),
        ("{BASE, timeout: 0}", "routes.0.timeout: Must be greater than or equal to 0.01"),
        ("{BASE, timeout: nan}", "routes.0.timeout: "),
        ("{BASE, timeout: soon}", "routes.0.timeout: Not a valid number."),
        ("{BASE, body_limit: 10MB}", "routes.0.body_limit: must be a number of bytes such as 65536"),
        ("{BASE, body_limit: 0}", "routes.0.body_limit: must be a number of bytes"),
        ("{BASE, body_limit: true}", "routes.0.body_limit: must be a number of bytes"),
        ("{BASE, body_limit: 1.5}", "routes.0.body_limit: must be a number of bytes"),
        ("{BASE, rate_limit: 20}", "routes.0.rate_limit: Not a valid string."),
        ("{BASE, rate_limit: '20/minute:ajar'}", "routes.0.rate_limit: must be a limit such as 20/minute"),
        ("{BASE, rate_limit: 20/fortnight}", "routes.0.rate_limit: must be a limit such as 20/minute"),
        ("{id: a, path: /api/a, service: ordres}", "routes.0.service: There is no such service. Did you mean orders?"),
        ("{id: a, path: /api/a, service: nowhere}", "routes.0.service: has no base_url, so nothing can be sent to it."),
        ("{id: a, path: /api/a, service: open, auth: none, scopes: a}", "routes.0.scopes: are a token's, and"),
        ("{id: a, path: /api/a, service: billing, auth: bearer}", "routes.0.auth: bearer has no session to take"),
        ("{id: a, path: /api/a, service: billing, auth: none}", "routes.0.auth: none has no session to take"),
        ("{BASE, auth: none}", "routes.0.auth: none has no session to take the service's token"),
        ("{id: a, path: /api/auth/session, service: orders}", "route a: path: the BFF answers /api/auth/session"),
        ("[]", "routes.0: must be a mapping."),
        ("orders", "routes.0: must be a mapping."),
    ],
)  # fmt: skip
def test_one_mistake_is_one_sentence(tmp_path: Path, item: str, expected: str) -> None:
    (problem,) = routes(tmp_path, item)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "item",
    [
        "{BASE, auth: bearer}",
        "{id: a, path: /api/a, service: own, auth: bearer}",
        "{id: a, path: /api/a, service: own, auth: none}",
        "{id: a, path: /api/a, service: open, auth: none}",
        "{id: a, path: '/api/{x}/*', service: billing, upstream_path: '/*'}",
    ],
)
def test_what_goes_together(tmp_path: Path, item: str) -> None:
    assert routes(tmp_path, item) == []


TEN = """
services:
  orders: {base_url: "https://orders.example"}
  broken: {base_url: nowhere}
routes:
  - {id: one, path: /api/one, service: orders}
  - {id: one, path: /api/two, service: orders}
  - id: three
    path: /api/three
    servce: orders
    service: orders
  - {id: four, path: /api/four, service: order}
  - {id: five, path: /api/%35, service: orders}
  - {id: six, path: /api/one, service: orders}
  - {id: seven, path: "/api/s/{x}/c", service: orders}
  - {id: eight, path: "/api/{y}/b/c", service: orders}
  - id: nine
    path: /api/nine
    service: broken
    timeout: 5
    timeout: 6
  - id: ten
    path: /api/ten/{id}
    service: orders
    authz: pdp
    authz_map:
      resource: orders
      action: read
      id_from: $.path.idd
      props: {amount: $.body.amount}
rotues: []
"""


def test_ten_kinds_of_mistakes_are_all_said_at_once_with_their_lines(tmp_path: Path) -> None:
    found = [line.split(": ", 2) for line in problems(tmp_path, TEN)]
    assert [(line, where, sentence.partition(".")[0]) for line, where, sentence in found] == [
        ("4", "services.broken.base_url", "must be an http or https URL with at most a path, such as https://api"),
        ("10", "routes.2.servce", "There is no such key"),
        ("12", "routes.3.service", "There is no such service"),
        ("13", "routes.4.path", "is written as it reads, not encoded, so '%' has no place in it"),
        ("21", "routes.8.timeout", "The key stands twice, in line 20, too"),
        ("31", "rotues", "There is no such key"),
        ("7", "route one", "the id is taken by the route in line 6"),
        ("14", "route six", "GET /api/one is what route one in line 6 takes (/api/one)"),
        ("16", "route eight", "/api/{y}/b/c and /api/s/{x}/c of route seven in line 15 both take /api/s/b/c,"
         " and neither is more specific"),
        ("22", "route ten", "authz_map"),
        ("22", "route ten", "authz_map"),
    ]  # fmt: skip


def test_no_value_from_a_variable_is_quoted(tmp_path: Path) -> None:
    text = """
services: {a: {base_url: "${SECRET}", timeout: "${SECRET}", request_headers: ["${SECRET} x"]}}
routes: [{id: "${SECRET} ", path: /api/a, service: a, rate_limit: "${SECRET}", body_limit: "${SECRET}"}]
"""
    found = problems(tmp_path, text, SECRET="hunter2!")
    assert len(found) == 6
    assert "hunter2" not in "".join(found)
