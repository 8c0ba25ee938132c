"""Exposure checks: well-formed settings that open a door to strangers.

Such settings are proxies that include strangers, guessable secrets, and origins that any page can have.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from itertools import pairwise
from urllib.parse import urlsplit

from bff.settings.cookies import is_loopback
from bff.settings.model import PRODUCTION, MetricsSettings, Network, Settings

# The largest networks that one company announces; content delivery networks publish ranges of /12 and /28.
WIDEST_IPV4, WIDEST_IPV6 = 8, 16
# Random keys of 32 bytes never have so few different bytes, nor do keys written in hexadecimal.
FEWEST_DIFFERENT = 10
LONGEST_LOOKED_AT = 128


def problems(config: Settings) -> Iterator[str]:
    yield from _proxies(config.trusted_proxies)
    if not config.development:
        yield from _secrets(config.secrets)
        yield from _metrics(config.metrics)
    yield from _origins(config)
    if config.hsts and not config.base_url.startswith("https:"):
        yield "BFF_HSTS: browsers ignore it over http; BFF_BASE_URL must be https."


def _proxies(networks: Sequence[Network]) -> Iterator[str]:
    """A peer in these networks sets the client address, host and path of a request."""
    for network in _wide(networks):
        yield f"TRUSTED_PROXIES: {network} lets strangers forge the client address; name your proxies' own addresses."


def _metrics(metrics: MetricsSettings) -> Iterator[str]:
    """With METRICS_BIND the network decides which clients reach the page at all."""
    if metrics.bind is not None or metrics.token:
        return
    for network in _wide(metrics.allowed):
        yield (
            f"METRICS_ALLOWED_CIDRS: {network} lets strangers read /metrics; name your scrapers' networks, or set"
            " METRICS_TOKEN or METRICS_BIND."
        )


def _wide(networks: Sequence[Network]) -> list[Network]:
    """The networks, merged, that are so large that they include strangers."""
    ipv4 = [each for each in networks if isinstance(each, IPv4Network)]
    ipv6 = [each for each in networks if isinstance(each, IPv6Network)]
    return [
        *[each for each in collapse_addresses(ipv4) if each.prefixlen < WIDEST_IPV4],
        *[each for each in collapse_addresses(ipv6) if each.prefixlen < WIDEST_IPV6 and not each.is_private],
    ]


def _secrets(secrets: Sequence[bytes]) -> Iterator[str]:
    if len(set(secrets)) < len(secrets):
        yield "BFF_SECRETS: names one key twice; the second is for the key before the newest."
    for number, secret in enumerate(secrets, 1):
        if _is_guessed(secret):
            yield f"BFF_SECRETS: key {number} is not random; make one with `openssl rand -base64 32`."


def _is_guessed(secret: bytes) -> bool:
    """Whether it has few different bytes, repeats one block, or has a constant step between bytes."""
    secret = secret[:LONGEST_LOOKED_AT]
    steps = {(later - earlier) % 256 for earlier, later in pairwise(secret)}
    repeats = any(secret[length:] == secret[:-length] for length in range(1, len(secret) // 2 + 1))
    return len(set(secret)) < FEWEST_DIFFERENT or len(steps) == 1 or repeats


def _origins(config: Settings) -> Iterator[str]:
    named = {
        "CORS_ALLOW_ORIGINS": config.cors_allow_origins,
        "BFF_ALLOWED_REDIRECT_HOSTS": config.allowed_redirect_origins,
    }
    for name, origins in named.items():
        for origin in sorted(origins):
            if urlsplit(origin).hostname == "null":
                yield f"{name}: null is the origin of every sandboxed page; name the origin of your application."
    if config.environment == PRODUCTION:
        for origin in sorted(config.cors_allow_origins):
            if not origin.startswith("https:") and not is_loopback(origin):
                yield f"CORS_ALLOW_ORIGINS: {origin!r} can be forged by any machine on the network path; use https."
