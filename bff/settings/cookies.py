"""Cookie prefixes: the names of our cookies, and checks of names and domains that would not protect them.

A browser keeps a `__Host-Http-` cookie only if the exact host set it, over https, out of reach of scripts (RFC 6265bis;
RFC 10017 section 6.1.3.2). So a sibling host cannot plant one, neither a session nor a login attempt (ADR 37).
"""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from bff.settings.model import PRODUCTION, CookieSettings, Settings

HOST_HTTP = "__Host-Http-"
SESSION = "bff_session"
LOGIN = "bff_login_"
END_SESSION = "bff_end_session"
ROUNDS = "bff_rounds"
CSRF = "_eid_csrf_v1"  # the default of BFF_CSRF_COOKIE_NAME

# Suffixes below which any person can register a name, such as co.uk. The complete list is a megabyte and changes.
_REGISTRY = re.compile(r"(?:ac|co|com|edu|gob|gov|gouv|mil|net|ne|nom|or|org)\.[a-z]{2}")


def cookie_settings(values: Mapping[str, Any], base_url: str) -> CookieSettings:
    """values: of the environment, by field name."""
    secure = base_url.startswith("https:") if values["cookie_secure"] is None else values["cookie_secure"]
    protected = secure and values["environment"] == PRODUCTION
    name = values["cookie_name"] or (HOST_HTTP if protected and not values["cookie_domain"] else "") + SESSION
    # Cookies of pending logins and logouts never have a Domain, so only http rules the prefix out.
    prefixed = protected or (secure and _starts(name, "__host-"))
    return CookieSettings(
        name,
        values["cookie_domain"],
        values["cookie_samesite"],
        secure,
        values["csrf_cookie_name"],
        flow_prefix=HOST_HTTP if prefixed else "",
    )


def problems(config: Settings) -> Iterator[str]:
    yield from _name(config.cookies)
    yield from _csrf_name(config.cookies)
    yield from _attributes(config.cookies, config.base_url)
    if config.cookies.domain:
        yield from _domain(config.cookies.domain.lstrip(".").lower(), urlsplit(config.base_url).hostname or "")


def _name(cookies: CookieSettings) -> Iterator[str]:
    """Browsers match the prefixes in any case, and so does this check."""
    if _starts(cookies.name, "__host-") and (not cookies.secure or cookies.domain):
        yield "BFF_COOKIE_NAME: a __Host- cookie must be Secure and cannot have BFF_COOKIE_DOMAIN (RFC 6265bis)."
    for prefix in ("__Secure-", "__Http-"):
        if _starts(cookies.name, prefix.lower()) and not cookies.secure:
            yield f"BFF_COOKIE_NAME: a {prefix} cookie must be Secure (RFC 6265bis)."
    if _is_taken(cookies.name) or _bare(cookies.name) == cookies.csrf_name.lower() == CSRF:
        yield f"BFF_COOKIE_NAME: {cookies.name!r} is the name of another cookie of ours; {SESSION} is not."


def _csrf_name(cookies: CookieSettings) -> Iterator[str]:
    """A page must read this cookie, so it cannot be HttpOnly."""
    name = cookies.csrf_name
    if _starts(name, "__http-") or _starts(name, HOST_HTTP.lower()):
        yield f"BFF_CSRF_COOKIE_NAME: {name!r}: pages read this cookie, which HttpOnly would forbid."
    elif _starts(name, "__host-") and (not cookies.secure or cookies.domain):
        yield "BFF_CSRF_COOKIE_NAME: a __Host- cookie must be Secure and cannot have BFF_COOKIE_DOMAIN (RFC 6265bis)."
    elif _starts(name, "__secure-") and not cookies.secure:
        yield "BFF_CSRF_COOKIE_NAME: a __Secure- cookie must be Secure (RFC 6265bis)."
    if _is_taken(name) or (name.lower() != CSRF and _bare(name) == _bare(cookies.name)):
        yield f"BFF_CSRF_COOKIE_NAME: {name!r} is the name of another cookie of ours."


def _is_taken(name: str) -> bool:
    return _bare(name) in (END_SESSION, ROUNDS) or _bare(name).startswith(LOGIN)


def _bare(name: str) -> str:
    return name.lower().removeprefix(HOST_HTTP.lower())


def _attributes(cookies: CookieSettings, base_url: str) -> Iterator[str]:
    if cookies.samesite == "None" and not cookies.secure:
        yield "BFF_COOKIE_SAMESITE: browsers drop a SameSite=None cookie that is not Secure."
    if cookies.secure and not base_url.startswith("https:") and not is_loopback(base_url):
        yield "BFF_COOKIE_SECURE: a browser sends no Secure cookie to BFF_BASE_URL over http; use https."


def _domain(domain: str, host: str) -> Iterator[str]:
    """Domains that every browser refuses, or that would send the session to other sites."""
    if _is_address(domain) or _is_address(host):
        yield f"BFF_COOKIE_DOMAIN: {domain!r}: cookies of addresses have no Domain; leave it out."
    elif "." not in domain or _REGISTRY.fullmatch(domain):
        yield f"BFF_COOKIE_DOMAIN: {domain!r} is not one organisation's; name a domain of yours, such as example.com."
    elif host != domain and not host.endswith(f".{domain}"):
        yield f"BFF_COOKIE_DOMAIN: {domain!r} does not contain the host of BFF_BASE_URL."


def is_loopback(url: str) -> bool:
    return is_loopback_host(urlsplit(url).hostname or "")


def is_loopback_host(host: str) -> bool:
    if _is_address(host):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _starts(name: str, prefix: str) -> bool:
    return name.lower().startswith(prefix)
