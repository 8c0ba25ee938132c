"""The environment and the YAML files become one frozen value, whatever is in them."""

import base64
import dataclasses
import stat
import tempfile
import time
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from bff import __version__, settings, settings_check
from bff.kv.redis import RedisStore
from bff.services import open_store
from bff.settings import ClaimNames, RateLimit, Settings
from bff.settings.environment import VARIABLES
from bff.settings.idps import OWN_PARAMETERS

KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty configuration folder."""
    return tmp_path


def load(folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    return settings.load({"BFF_DATA_DIR": str(folder / "data"), **(environ or {})}, folder)


def write_idps(folder: Path, text: str) -> None:
    (folder / "idps.yaml").write_text(text)


def test_nothing_set_is_a_development_machine(folder: Path) -> None:
    config = load(folder)
    assert config.problems == ()
    assert config.development
    assert (config.base_url, config.port, config.version) == ("http://127.0.0.1:8000", 8000, __version__)
    assert config.embedded_provider
    assert [provider.issuer for provider in config.providers] == ["http://127.0.0.1:8000/dev/idp"]
    assert config.store.redis_url is None
    assert not config.cookies.secure


def test_an_empty_variable_is_unset(folder: Path) -> None:
    assert load(folder, dict.fromkeys(VARIABLES - {"BFF_DATA_DIR"}, " ")) == load(folder)


def test_settings_cannot_be_changed(folder: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(folder).port = 1  # type: ignore[misc]  # that it is refused is the point


def test_the_generated_secret_is_kept_and_private(folder: Path) -> None:
    first, second = load(folder), load(folder)
    assert first.secrets == second.secrets
    assert len(first.secrets[0]) == 32
    assert stat.S_IMODE((folder / "data" / "secret").stat().st_mode) == 0o600


def test_no_secret_is_generated_where_one_is_set_or_outside_development(folder: Path) -> None:
    assert load(folder, {"BFF_SECRETS": KEY}).secrets == (b"k" * 32,)
    assert load(folder, {"ENVIRONMENT": "staging"}).secrets == ()
    assert not (folder / "data").exists()


def test_a_data_folder_that_cannot_be_made_is_a_problem(folder: Path) -> None:
    (folder / "file").write_text("")
    config = load(folder, {"BFF_DATA_DIR": str(folder / "file" / "data")})
    assert config.problems == ("BFF_SECRETS: none is set, and none can be kept in BFF_DATA_DIR (NotADirectoryError).",)


def test_a_file_may_hold_the_value(folder: Path) -> None:
    (folder / "key").write_text(f" {KEY}\n")
    (folder / "url").write_text("redis://127.0.0.1\n")
    config = load(folder, {"BFF_SECRETS_FILE": str(folder / "key"), "REDIS_URL_FILE": str(folder / "url")})
    assert config.problems == ()
    assert config.secrets == (b"k" * 32,)
    assert config.store.redis_url == "redis://127.0.0.1", "editors end a file with a new line"


def test_a_file_must_be_readable_text_and_the_only_source(folder: Path) -> None:
    (folder / "port").write_text("9000")
    (folder / "binary").write_bytes(b"\xff\xfe")
    environ = {
        "PORT": "8000",
        "PORT_FILE": str(folder / "port"),
        "REDIS_URL_FILE": "/nonexistent/url",
        "BFF_VERSION_FILE": str(folder / "binary"),
    }
    assert load(folder, environ).problems == (
        f"BFF_VERSION_FILE: '{folder / 'binary'}' cannot be read (UnicodeDecodeError).",
        "PORT: PORT_FILE is set as well; keep one of them.",
        "REDIS_URL_FILE: '/nonexistent/url' cannot be read (FileNotFoundError).",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BFF_SECRET", " Did you mean BFF_SECRETS?"),
        ("BFF_COOKIE_DOMIAN", " Did you mean BFF_COOKIE_DOMAIN?"),
        ("BFF_SECRETS_FLIE", " Did you mean BFF_SECRETS_FILE?"),
        ("SESSION_LIFE_TIME", " Did you mean SESSION_LIFETIME?"),
        ("BFF_QQQQ", ""),
    ],
)
def test_a_misspelt_name_is_reported(folder: Path, name: str, hint: str) -> None:
    assert load(folder, {name: "x"}).problems == (f"{name}: there is no such setting.{hint}",)


def test_other_programs_variables_are_none_of_our_business(folder: Path) -> None:
    assert load(folder, {"PATH": "/bin", "SESSION_MANAGER": "x", "SECRETS": "x", "WEB_THREADS": "4"}).problems == ()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ENVIRONMENT", "prod", "Must be one of: development, staging, production."),
        ("PORT", "http", "Not a valid integer."),
        ("PORT", "65536", "Must be greater than or equal to 1 and less than or equal to 65535."),
        ("SESSION_LIFETIME", "0", "Must be greater than or equal to 1."),
        ("SESSION_OUTAGE_GRACE", "-1", "Must be greater than or equal to 0 and less than or equal to 300."),
        ("SESSION_OUTAGE_GRACE", "301", "Must be greater than or equal to 0 and less than or equal to 300."),
        *(
            ("BFF_STORE_PREFIX", text, "must be up to 32 of a-z, 0-9, _ and -, such as bff or shop-staging.")
            for text in ("Shop", "a:b", "{a}", "a*", "a.b", "../x", "a b", "é", "x" * 33, "a\nb")
        ),
        ("SESSION_CACHE_TTL", "nan", "Special numeric values (nan or infinity) are not permitted."),
        ("BFF_COOKIE_SECURE", "perhaps", "Not a valid boolean."),
        ("BFF_COOKIE_NAME", "a b", "is not a cookie name (RFC 6265)."),
        ("BFF_SECRETS", "!!!", "is not base64."),
        ("BFF_SECRETS", "c2hvcnQ=", "is only 5 bytes long; 32 random bytes are needed."),
        ("BFF_BASE_URL", "https://app.example.com/bff", "is not an origin such as https://app.example.com."),
        ("TRUSTED_PROXIES", "10.0.0.0/33", "is not a network such as 10.0.0.0/8 or ::1"),
        ("CORS_ALLOW_ORIGINS", "*", "is not an origin such as https://app.example.com."),
        ("METRICS_USER_LABEL", "name", "Must be one of: bucket, off, raw."),
        ("PUBLIC_METRICS_EVENTS", "page_view, Page-View", "'Page-View' is not a name such as page_view."),
        ("RATE_LIMITS", "beacon=0/minute", "'beacon=0/minute' is not a limit such as beacon=120/minute"),
        ("RATE_LIMITS", "beacon=5/fortnight", "is not a limit such as beacon=120/minute"),
        ("RATE_LIMITS", "beacon=5/minute:ajar", "is not a limit such as beacon=120/minute or login=20/minute:closed."),
        ("RATE_LIMITS", "verify=5/minute", "there is no limit named 'verify'; there is login, callback, "),
        ("RATE_LIMITS", "beacon=5/minute;beacon=6/minute", "names a limit twice."),
    ],
)
def test_a_wrong_value_is_one_sentence_and_the_default_stands_in(
    folder: Path, name: str, value: str, message: str
) -> None:
    config, plain = load(folder, {name: value, "LOG_LEVEL": "debug"}), load(folder, {"LOG_LEVEL": "debug"})
    (problem,) = config.problems
    assert problem.startswith(f"{name}: ")
    assert message in problem
    assert dataclasses.replace(config, problems=()) == plain, "other values are kept"


def test_limits_and_names_of_events(folder: Path) -> None:
    config = load(folder, {"RATE_LIMITS": " beacon=5/hour ; ", "PUBLIC_METRICS_EVENTS": "page_view,cart_opened"})
    assert (config.problems, limits(config)["beacon"]) == ((), RateLimit("beacon", 5, "hour"))
    assert config.metrics.public_events == ("page_view", "cart_opened")
    others = {name: limit for name, limit in limits(load(folder)).items() if name != "beacon"}
    assert limits(config) == {**others, "beacon": limits(config)["beacon"]}, "what is not mentioned keeps its default"


@pytest.mark.parametrize(
    ("given", "name", "closed"),
    [
        ("", "login", True),
        ("", "beacon", False),
        ("login=5/second", "login", True),
        ("beacon=5/second", "beacon", False),
        ("login=5/second:open", "login", False),
        ("beacon=5/second:closed", "beacon", True),
    ],
)
def test_what_a_limit_does_without_the_store(folder: Path, given: str, name: str, closed: bool) -> None:
    limit = limits(load(folder, {"RATE_LIMITS": given}))[name]
    assert limit.closed is closed
    assert str(limit).endswith(":closed" if closed else ":open")


def limits(config: Settings) -> dict[str, RateLimit]:
    return {limit.name: limit for limit in config.rate_limits}


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("HTTPS://App.Example.com/", "https://app.example.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_the_base_url_is_an_origin(folder: Path, text: str, origin: str) -> None:
    config = load(folder, {"BFF_BASE_URL": text})
    assert (config.base_url, config.problems) == (origin, ())


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        "ftp://a",
        "https://",
        "https://a?b",
        "https://*.example.com",
        "https://bücher.example",
        "https://a#b",
        "https://u:p@a",
        "https://a:port",
        "http://[",
    ],
)
def test_what_is_no_origin_is_refused(folder: Path, text: str) -> None:
    (problem,) = load(folder, {"BFF_BASE_URL": text}).problems
    assert problem.startswith("BFF_BASE_URL: ")


def test_lists_take_commas_and_blanks(folder: Path) -> None:
    config = load(
        folder,
        {
            "TRUSTED_PROXIES": "10.0.0.0/8, ::1\n192.0.2.7",
            "BFF_ALLOWED_REDIRECT_HOSTS": "a.example.com,http://b.example.com:8080",
            "READINESS_CHECKS": "store idp",
            "BFF_SECRETS": f"{KEY},{base64.urlsafe_b64encode(b'>?' * 16).decode().rstrip('=')}",
        },
    )
    assert config.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"), ip_network("192.0.2.7"))
    assert config.trust_unix_sockets is False
    assert config.allowed_redirect_origins == {"https://a.example.com", "http://b.example.com:8080"}
    assert config.readiness_checks == ("store", "idp")
    assert config.secrets == (b"k" * 32, b">?" * 16)


def test_a_proxy_behind_a_socket_file(folder: Path) -> None:
    config = load(folder, {"TRUSTED_PROXIES": "unix, 10.0.0.0/8", "FORWARDED_HEADER": "forwarded"})
    assert (config.problems, config.trust_unix_sockets) == ((), True)
    assert config.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert config.forwarded_header == "forwarded"


def test_one_provider_needs_no_yaml(folder: Path) -> None:
    config = load(
        folder,
        {
            "OIDC_ISSUER": "https://login.example.com",
            "AUTH_CLIENT_ID": "bff",
            "AUTH_CLIENT_SECRET": "hidden",
            "PAR_ENABLED": "true",
        },
    )
    (provider,) = config.providers
    assert (provider.id, provider.client_secret, provider.par) == ("default", "hidden", "always")
    assert not config.embedded_provider


IDPS = """
providers:
  corporate:
    issuer: https://${IDP_HOST}/realms/${REALM:-main}
    client_id: bff
    client_secret: ${CLIENT_SECRET}
    user_id: arn
    claims: {roles: realm_access.roles}
    id_token_signing_algs: [ES256]
    authorization_parameters: {resource: "https://api.example.com"}
  another:
    issuer: https://another.example.com
    client_id: bff
"""


def test_providers_come_from_yaml_in_order_with_variables_expanded(folder: Path) -> None:
    write_idps(folder, IDPS)
    config = load(folder, {"IDP_HOST": "login.example.com", "CLIENT_SECRET": "{x: ${REALM}}", "REALM": ""})
    assert config.problems == ()
    corporate, another = config.providers
    assert (corporate.id, another.id) == ("corporate", "another")
    assert corporate.issuer == "https://login.example.com/realms/main"
    assert corporate.client_secret == "{x: ${REALM}}", "a value is a value, neither YAML nor expanded again"
    assert corporate.claims == ClaimNames(roles="realm_access.roles")
    assert corporate.id_token_algorithms == ("ES256",)
    assert corporate.authorization_parameters == (("resource", "https://api.example.com"),)
    assert another.user_id == "sub"


def test_a_variable_that_yaml_asks_for_must_be_set(folder: Path) -> None:
    write_idps(folder, IDPS)
    path = folder / "idps.yaml"
    assert load(folder, {"IDP_HOST": "login.example.com"}).problems == (
        f"{path}:6: providers.corporate.client_secret: the environment variable CLIENT_SECRET is not set.",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: {Upper: {issuer: https://a, client_id: b}}", "providers.Upper: must be a short lower-case name"),
        ("providers: {a: {client_id: b}}", "providers.a.issuer: Missing data for required field."),
        (
            "providers: {a: {issuer: https://a, client_id: b, scope: x}}",
            "providers.a.scope: There is no such key. Did",
        ),
        ("providers: {a: {issuer: https://a, client_id: b, par: sometimes}}", "providers.a.par: Must be one of"),
        ("providers: {a: {issuer: [], client_id: b}}", "providers.a.issuer: Not a valid string."),
        ("provider: {}", "provider: There is no such key. Did you mean providers? There is providers."),
        ("providers: [", "is not YAML, from column 13 on."),
        (
            "providers: {a: {issuer: https://a, client_id: b, client_key_file: /nonexistent/key}}",
            "providers.a.client_key_file: cannot be read (FileNotFoundError).",
        ),
    ],
)
def test_a_mistake_in_yaml_names_file_and_place(folder: Path, text: str, message: str) -> None:
    write_idps(folder, text)
    (problem,) = load(folder).problems
    assert problem.startswith(f"{folder / 'idps.yaml'}:1: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("providers: 2026-02-30", "is not YAML; it cannot be parsed."),
        ("- a", "must be a mapping."),
        ("providers: &a {b: *a}", "holds itself, or is nested too deeply."),
        ("[" * 5000, "is not YAML; it cannot be parsed."),
    ],
)
def test_yaml_that_is_wrong_as_a_whole(folder: Path, text: str, message: str) -> None:
    write_idps(folder, text)
    assert load(folder).problems == (f"{folder / 'idps.yaml'}: {message}",)


def test_each_mistake_in_yaml_has_its_line(folder: Path) -> None:
    write_idps(
        folder,
        """
providers:
  a:
    issuer: https://a
    client_id: b
    claims:
      role: x
    audiences: [c, 5]
    issuer: https://b
  b: {issuer: https://b}
""",
    )
    path = folder / "idps.yaml"
    assert load(folder).problems == (
        f"{path}:7: providers.a.claims.role: There is no such key. Did you mean roles?"
        " There are name, email, roles, permissions.",
        f"{path}:8: providers.a.audiences.1: Not a valid string. Found '5'.",
        f"{path}:9: providers.a.issuer: The key stands twice, in line 4, too.",
        f"{path}:10: providers.b.client_id: Missing data for required field.",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("providers: {a: {issuer: https://a, client_id: b, par: perhaps}}", " Found 'perhaps'."),
        ("providers: {a: {issuer: https://a, client_id: b, dpop: 17}}", " Found '17'."),
        ("providers: {a: {issuer: https://a, client_id: b, par: '%s'}}" % ("x" * 200), " Found '%s'." % ("x" * 80)),
        ("providers: {a: {issuer: https://a, client_id: b, par: [hunter2]}}", ""),
        ("providers: {a: {issuer: https://a, client_id: b, client_secret: [hunter2]}}", ""),
        ("providers: {a: {issuer: https://a, client_id: b, client_secret: 42}}", ""),
        ("providers: {a: {issuer: https://a, client_id: b, clientsecret: hunter2}}", ""),
        ("providers: {a: {issuer: https://a, client_id: b, par: '${SECRET}'}}", ""),
        ("providers: {a: {issuer: https://a, client_id: b, par: 'https://me:hunter2@a'}}", ""),
    ],
)
def test_what_stands_there_is_shown_unless_it_may_be_a_secret(folder: Path, text: str, found: str) -> None:
    write_idps(folder, text)
    (problem,) = load(folder, {"SECRET": "hunter2"}).problems
    assert problem.partition(" Found ")[1] + problem.partition(" Found ")[2] == found
    assert "hunter2" not in problem


def test_keys_named_like_marshmallows_own_words_have_their_lines_too(folder: Path) -> None:
    write_idps(
        folder,
        "providers:\n  a:\n    issuer: https://a\n    client_id: b\n"
        "    authorization_parameters:\n      value: [1]\n      key: 2\n",
    )
    assert [line.partition("idps.yaml")[2] for line in load(folder).problems] == [
        ":6: providers.a.authorization_parameters.value: Not a valid string.",
        ":7: providers.a.authorization_parameters.key: Not a valid string. Found '2'.",
    ]


@pytest.mark.parametrize("name", sorted(OWN_PARAMETERS))
def test_parameters_that_the_login_sets_are_not_the_operators(folder: Path, name: str) -> None:
    write_idps(
        folder,
        "providers:\n  a:\n    issuer: https://a\n    client_id: b\n"
        f"    authorization_parameters:\n      resource: x\n      {name}: fixed\n",
    )
    (line,) = load(folder).problems
    assert line.partition("idps.yaml")[2].startswith(
        f":7: providers.a.authorization_parameters.{name}: is for the login itself to set."
    )


def test_yaml_with_a_mistake_in_one_provider_keeps_the_others(folder: Path) -> None:
    write_idps(folder, "providers: {a: {issuer: https://a}, b: {issuer: https://b, client_id: c}}")
    assert [provider.id for provider in load(folder).providers] == ["b"]


def test_yaml_that_cannot_be_read_is_a_problem_and_missing_yaml_is_none(folder: Path) -> None:
    (folder / "idps.yaml").mkdir()
    assert load(folder).problems == (f"{folder / 'idps.yaml'}: cannot be read (IsADirectoryError).",)
    assert load(folder / "nowhere").problems == ()


def test_a_key_may_lie_in_a_file(folder: Path) -> None:
    (folder / "key.pem").write_text("the key")
    write_idps(
        folder, "providers: {a: {issuer: https://a, client_id: b, client_key_file: '%s'}}" % (folder / "key.pem")
    )
    assert load(folder).providers[0].client_key == "the key"


def test_no_repr_shows_a_secret(folder: Path) -> None:
    write_idps(
        folder,
        IDPS.replace(
            "client_id: bff\n    client_secret", "client_id: bff\n    client_key: ${HIDDEN}\n    client_secret"
        ),
    )
    config = load(
        folder,
        {
            "BFF_SECRETS": KEY,
            "REDIS_URL": "redis://:hidden-redis@127.0.0.1",
            "IDP_HOST": "login.example.com",
            "CLIENT_SECRET": "hidden-client",
            "HIDDEN": "hidden-key",
        },
    )
    assert config.problems == ()
    assert config.providers[0].client_key == "hidden-key"
    text = repr(config)
    assert "login.example.com" in text
    assert "hidden" not in text
    assert repr(b"k" * 32) not in text


values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
urls = st.tuples(st.sampled_from(["https://", "http://[", "redis://", "://", "redis+sentinel://a/"]), values).map(
    "".join
)


@example_settings(deadline=None)  # files are written
@given(st.dictionaries(st.sampled_from(sorted(VARIABLES - {"BFF_DATA_DIR", "BFF_CONFIG_DIR"})), values | urls))
def test_no_environment_breaks_loading_or_checking(environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = load(Path(folder), environ)
        assert all(isinstance(line, str) for line in settings_check.problems(config))


KEYS = st.sampled_from(
    [
        "services", "routes", "profiles", "providers", "connection", "subject", "cache", "token", "base_url", "id",
        "path", "service", "methods", "auth", "authz", "authz_map", "resource", "action", "id_from", "props", "headers",
        "timeout", "upstream_path", "scopes", "rate_limit", "body_limit", "request_headers", "issuer", "value", "key",
        "response_headers", "_schema", "a", 5, True, None, 1.5, "",
    ]
)  # fmt: skip
SCALARS = st.sampled_from(
    [
        "a", "pdp", "bearer", "none", "exchange", "client_credentials", "https://a", "embedded", "/api/{a}/*", "/api/a",
        "/{b}", "$.path.a", "$.body[?", "GET", "X-A", "20/minute", "${A}", "${", 0, -1, 5, True, None, float("nan"),
        "x\n\0",
    ]
)  # fmt: skip
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)
FILES = st.sampled_from(["idps.yaml", "routes.yaml", "pdp.yaml", "verify.yaml"])
ROUTES_YAML = st.fixed_dictionaries(
    {
        "services": st.dictionaries(KEYS, st.dictionaries(KEYS, SCALARS, max_size=5), max_size=3),
        "routes": st.lists(st.dictionaries(KEYS, TREES, max_size=12), max_size=3),
    }
)


@example_settings(deadline=None)  # files are written
@given(st.dictionaries(FILES, TREES | ROUTES_YAML, max_size=4))
def test_no_yaml_breaks_loading_or_checking(files: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_text(yaml.safe_dump(content, allow_unicode=True))
        found = settings_check.problems(load(folder))
        assert all(isinstance(line, str) and "\n" not in line for line in found), found


@example_settings(deadline=None)  # files are written
@given(st.text(max_size=200))
def test_no_text_breaks_loading(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "routes.yaml").write_bytes(text.encode(errors="surrogatepass"))
        assert all(isinstance(line, str) for line in settings_check.problems(load(Path(name))))


@pytest.mark.parametrize(
    ("environ", "concurrency"),
    [({}, 8), ({"WEB_THREADS": "3"}, 3), ({"WEB_THREADS": "x"}, 8), ({"WEB_WORKER_CLASS": "gevent"}, 1000)],
)
def test_how_many_requests_a_worker_answers_at_a_time(folder: Path, environ: dict[str, str], concurrency: int) -> None:
    assert load(folder, environ).concurrency == concurrency


@pytest.mark.parametrize(
    ("prefix", "url", "key"),
    [
        ("bff", "redis://127.0.0.1", "bff:k:x"),
        ("shop_staging-2", "redis://127.0.0.1", "shop_staging-2:k:x"),
        ("shop", "redis+sentinel://127.0.0.1:26379/main", "shop:k:x"),
        ("shop", "redis+cluster://127.0.0.1:7000", "{shop}:k:x"),
    ],
)
def test_all_keys_in_redis_begin_with_the_prefix(folder: Path, prefix: str, url: str, key: str) -> None:
    store = open_store(load(folder, {"BFF_STORE_PREFIX": prefix, "REDIS_URL": url}), time.time)
    assert isinstance(store, RedisStore)
    assert store._key("x") == key


@pytest.mark.parametrize(("prefix", "file"), [("bff", "store.sqlite3"), ("shop", "store.shop.sqlite3")])
def test_the_embedded_stores_file_is_named_by_the_prefix(folder: Path, prefix: str, file: str) -> None:
    assert load(folder, {"BFF_STORE_PREFIX": prefix}).store.path.name == file
