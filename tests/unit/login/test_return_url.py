"""Where a browser may be sent after login, in every spelling that somebody tried to smuggle past a check like this."""

import re
import unicodedata
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bff.errors import InvalidReturnUrl
from bff.login.return_url import MAX_LENGTH, ReturnUrls
from tests.fuzz import examples

OWN = "https://app.example"
OTHER = "https://other.example:8443"
urls = ReturnUrls(OWN, [OTHER])


def accepted(text: str) -> bool:
    try:
        assert urls.checked(text) == text
    except InvalidReturnUrl:
        return False
    return True


def origin_in_a_browser(text: str, base: str = f"{OWN}/auth/callback") -> str:
    """Where the WHATWG URL Standard's parser ends up, which is what a browser does with a Location header.

    Blanks at the ends and tabs and line ends anywhere are dropped, a backslash is a slash, any number of slashes
    begins an authority, `https:x` is relative to an https page, the user part is skipped, the host is decoded.
    """
    text = re.sub(r"[\t\r\n]", "", text.strip("".join(map(chr, range(0x21))))).replace("\\", "/")
    home = urlsplit(base)
    scheme = re.match(r"([a-z][a-z0-9+.-]*):", text, re.IGNORECASE)
    name, rest = (scheme[1].lower(), text[scheme.end() :]) if scheme else (home.scheme, text)
    if name not in ("http", "https", "ftp", "ws", "wss", "file"):
        return f"{name}:"
    if name == home.scheme and not rest.startswith("//"):
        return f"{home.scheme}://{home.netloc}"
    authority = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0].rpartition("@")[2]
    host = unicodedata.normalize("NFKC", unquote(authority)).lower()
    return f"{name}://{host.removesuffix(':443' if name == 'https' else ':80')}"


ACCEPTED = [
    "/",
    "/orders",
    "/orders/",
    "/orders?page=2",
    "/orders?next=https://evil.example//..\u002f",
    "/orders#//evil.example",
    "/?",
    "/#",
    "/a%20b",
    "/%C3%A4",
    "/a;b=c",
    "/a:b",
    "/@alice",
    "/~alice",
    "/a..b",
    "/...",
    "/.well-known/x",
    "/a%2Eb",
    "/" + "a" * (MAX_LENGTH - 1),
    OWN,
    f"{OWN}/",
    f"{OWN}/orders",
    f"{OWN}?x=1",
    f"{OWN}#x",
    "HTTPS://App.Example/Orders",
    OTHER,
    f"{OTHER}/x?y=/../#z",
]

REFUSED = [
    "",
    " ",
    "orders",
    "./orders",
    "?x",
    "#x",
    # another origin
    "https://evil.example",
    "https://evil.example/app.example",
    "https://app.example.evil.example",
    "https://evilapp.example",
    "https://app.example:444/",
    "https://app.example:443/",
    "https://app.example:/",
    "https://app.example./",
    "https://other.example/",
    "http://app.example/",
    "ftp://app.example/",
    # scheme-relative, and what browsers take for it
    "//evil.example",
    "///evil.example",
    "////evil.example",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "\x00//evil.example",
    "/\x0b/evil.example",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "https:app.example",
    "https:/app.example",
    "https:///app.example",
    "//app.example",
    # a user part
    "https://app.example@evil.example",
    "https://app.example:x@evil.example",
    "https://evil.example@app.example",
    "https://app.example%40evil.example",
    "https://app.example\\@evil.example",
    "https://app.example;@evil.example",
    "https://@app.example",
    # a host in disguise
    "https://app.example%2eevil.example",
    "https://%61pp.example",
    "https://app\u3002example",
    "https://\uff41pp.example",
    "https://app.example\uff0f.evil.example",
    "https://[::1]",
    "https://[",
    "https://]",
    "https://app.example\u200b",
    "https://ａpp.example",
    # no web address
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\nscript:alert(1)",
    "data:text/html,x",
    "vbscript:x",
    "mailto:x@app.example",
    "file:///etc/passwd",
    "blob:https://app.example/x",
    "view-source:https://app.example",
    # dot segments, plain and encoded
    "/.",
    "/..",
    "/../x",
    "/a/..",
    "/a/../b",
    "/a/./b",
    "/..?x",
    "/..#x",
    "/%2e",
    "/%2e%2e/x",
    "/%2E./x",
    "/.%2e/x",
    "/..//evil.example",
    f"{OWN}/../x",
    f"{OWN}/..//evil.example",
    # empty segments
    "/a//b",
    "/a//",
    f"{OWN}//evil.example",
    f"{OWN}//",
    # encoded slashes, backslashes, percent signs and control characters
    "/%2f/evil.example",
    "/%2F%2Fevil.example",
    "/%5cevil.example",
    "/%5Cevil.example",
    "/%252fevil.example",
    "/%25",
    "/%09/evil.example",
    "/%0d%0aSet-Cookie:x",
    "/%00",
    "/%1f",
    "/%7f",
    # raw control characters, blanks and whatever is not ASCII
    "/a b",
    "/a\tb",
    "/a\r\nSet-Cookie: x=1",
    "/a\x00",
    "/a\x7f",
    "/a\x85",
    "/a\u2028b",
    "/ä",
    "/\u2044evil.example",
    "/\uff0fevil.example",
    "/\uff3cevil.example",
    "/\u3002\u3002/x",
    "/\u2025/x",
    "/\ud800",
    "/a ",
    " /a",
    "/a\n",
    # too long
    "/" + "a" * MAX_LENGTH,
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_a_place_of_ours(text: str) -> None:
    assert accepted(text)
    assert origin_in_a_browser(text) in (OWN, OTHER)


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_place(text: str) -> None:
    assert not accepted(text)


def test_a_refusal_does_not_quote() -> None:
    with pytest.raises(InvalidReturnUrl) as caught:
        urls.checked("https://evil.example/secret")
    assert "evil" not in f"{caught.value!r} {caught.value.detail} {caught.value.code}"


PIECES = [
    "/", "//", "///", "\\", "\\\\", ".", "..", "...", "%2e", "%2f", "%5c", "%00", "%25", "%", "@", ":", ";", ",", "|",
    "?", "#", "&", "=", "app.example", "other.example", "evil.example", "https:", "http:", "https://", "HTTPS://",
    "javascript:", "data:", OWN, OTHER, ":443", ":8443", "\t", "\n", "\r", " ", "\x00", "\x0b", "\x7f", "\u3002",
    "\uff0f", "\u2044", "\uff0e", "\u00ad", "\u200b", "[", "]", "[::1]", "a", "b/c", "x=1", "'", '"', "<", "`", "{",
]  # fmt: skip
spelling = st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=30)
segment = st.text("abcXYZ019-_~;:@!$&'()*+,=", min_size=1, max_size=8)
prefixed = st.builds(str.__add__, st.sampled_from(["/", OWN, f"{OWN}/", OTHER, f"{OTHER}/x"]), spelling)


@examples(2000)
@given(spelling | prefixed)
def test_whatever_is_accepted_stays_with_us_in_a_browser(text: str) -> None:
    if accepted(text):
        event("accepted")
        assert origin_in_a_browser(text) in (OWN, OTHER)
        assert text.isascii()
        assert text.isprintable()
    else:
        event("refused")


@examples(500)
@given(st.lists(segment, max_size=5), st.text("ab=&/?", max_size=9))
def test_plain_paths_are_accepted(segments: list[str], query: str) -> None:
    """The check is strict, but no nuisance."""
    assert accepted("/" + "/".join(segments) + (f"?{query}" if query else ""))


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("/\\evil.example", "https://evil.example"),
        ("/\t/evil.example", "https://evil.example"),
        ("////evil.example/x", "https://evil.example"),
        ("https:evil.example", OWN),
        ("http:evil.example", "http://evil.example"),
        ("https:\\evil.example", OWN),
        ("https://app.example@evil.example", "https://evil.example"),
        ("https://app.example\\@evil.example", "https://app.example"),
        ("\x01javascript:alert(1)", "javascript:"),
        ("https://ａpp.example:443/", OWN),
        ("x/../..", OWN),
    ],
)
def test_the_browser_of_these_tests_is_as_lenient_as_a_browser(text: str, origin: str) -> None:
    assert origin_in_a_browser(text) == origin
