import pytest

from bff.kv.redis_url import RedisUrl, parse


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", RedisUrl("redis", (("127.0.0.1", 6379),))),
        ("redis://cache", RedisUrl("redis", (("cache", 6379),))),
        ("redis://cache:7000/3", RedisUrl("redis", (("cache", 7000),), db=3)),
        ("redis://cache?db=3", RedisUrl("redis", (("cache", 6379),), db=3)),
        ("redis://[::1]:7000", RedisUrl("redis", (("::1", 7000),))),
        ("redis://:pw@cache", RedisUrl("redis", (("cache", 6379),), password="pw")),
        ("redis://me:p%40s%2Fs@cache", RedisUrl("redis", (("cache", 6379),), username="me", password="p@s/s")),
        (
            "rediss://cache?ssl_ca_certs=/ca.pem",
            RedisUrl("rediss", (("cache", 6379),), options={"ssl_ca_certs": "/ca.pem"}),
        ),
        ("unix:///run/redis.sock", RedisUrl("unix", path="/run/redis.sock")),
        ("unix://:pw@/run/redis.sock?db=2", RedisUrl("unix", path="/run/redis.sock", db=2, password="pw")),
        ("unix:///redis.sock?password=pw", RedisUrl("unix", path="/redis.sock", password="pw")),
        (
            "redis+sentinel://:pw@one,two:26380/main/1?sentinel_password=other",
            RedisUrl(
                "redis+sentinel",
                (("one", 26379), ("two", 26380)),
                service="main",
                db=1,
                password="pw",
                options={"sentinel_password": "other"},
            ),
        ),
        (
            "redis+cluster://:pw@one,two:7000?client_name=shop",
            RedisUrl("redis+cluster", (("one", 6379), ("two", 7000)), password="pw", options={"client_name": "shop"}),
        ),
        (
            "rediss+cluster://one/0?ssl_ca_certs=/ca.pem",
            RedisUrl("rediss+cluster", (("one", 6379),), options={"ssl_ca_certs": "/ca.pem"}),
        ),
    ],
)
def test_parse(url: str, expected: RedisUrl) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("cache:6379", "the scheme must be one of redis, rediss, unix, "),
        ("http://cache", "the scheme must be one of"),
        ("redis://cache/zero", "cannot be read"),
        ("redis://cache:port", "cannot be read"),
        ("redis://[::1", "cannot be read"),
        ("redis://user:hush/hush@cache", "special character"),
        ("redis://cache?socket_timeout=60", "takes no option 'socket_timeout'"),
        ("redis://cache?ssl_ca_certs=/ca.pem", "takes no option 'ssl_ca_certs'"),
        ("rediss://cache?ssl_cert_reqs=none", "takes no option 'ssl_cert_reqs'"),
        ("unix://", "needs the socket's path"),
        ("redis+sentinel://one,two", "needs the service's name"),
        ("redis+cluster://one/1", "a cluster has only one"),
        ("redis+cluster://one?db=1", "takes no option 'db'"),
    ],
)
def test_problems_are_named_without_quoting_the_url(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse(url)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://me:hush@cache/2", "redis://cache:6379/2"),
        ("rediss://:hush@[::1]:7000?ssl_password=hush", "rediss://[::1]:7000/0"),
        ("unix:///redis.sock?password=hush", "unix:///redis.sock"),
        ("redis+sentinel://:hush@one,two/main?sentinel_password=hush", "redis+sentinel://one:26379,two:26379/main/0"),
    ],
)
def test_shows_the_place_and_no_credential(url: str, text: str) -> None:
    parsed = parse(url)
    assert str(parsed) == text
    assert "hush" not in repr(parsed)
