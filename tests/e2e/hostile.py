"""Requests that are meant to be read in two ways, byte for byte as they are sent, and what becomes of each.

Three tables of heads, framing and bodies, and two of request targets.
"""

HOST = b"Host: a.test\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
SMUGGLED = b"GET /api/work/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n"


def get(fields: bytes = b"", *, line: bytes = b"GET /api/work/x HTTP/1.1", host: bytes = HOST) -> bytes:
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields: bytes, content: bytes = b"hello", *, version: bytes = b"HTTP/1.1") -> bytes:
    return get(fields, line=b"POST /api/work/x " + version) + content


def coded(coding: bytes, content: bytes = HELLO) -> bytes:
    """A body with a transfer coding."""
    return post(b"Transfer-Encoding: " + coding + b"\r\n", content)


def long(length: bytes) -> bytes:
    return post(b"Content-Length:" + length + b"\r\n")


REFUSED: dict[str, bytes] = {
    "CL and TE": post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
    "TE and CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED),
    "CL twice": post(b"Content-Length: 5\r\nContent-Length: 5\r\n"),
    "two CLs": post(b"Content-Length: 5\r\nContent-Length: 6\r\n"),
    "CL list": long(b" 5, 5"),
    "CL plus": long(b" +5"),
    "CL minus": long(b" -5"),
    "CL hexadecimal": long(b" 0x5"),
    "CL underscore": long(b" 0_5"),
    "CL with a space": long(b" 1 1"),
    "CL fraction": long(b" 5.0"),
    "CL empty": long(b""),
    "CL in Arabic digits": long(" \u0665".encode()),
    "CL superscript": long(b" \xb2"),
    "CL beyond every limit": long(b" 99999999999999999999999"),
    "CL longer than the body": long(b" 5000"),
    "TE chunked, identity": coded(b"chunked, identity"),
    "TE identity, chunked": coded(b"identity, chunked"),
    "TE identity": coded(b"identity"),
    "TE identity and CL": post(b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n"),
    "TE identity, then chunked": post(b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", HELLO),
    "TE gzip, chunked": coded(b"gzip, chunked"),
    "TE gzip": coded(b"gzip"),
    "TE xchunked": coded(b"xchunked"),
    "TE vertical tab": coded(b"\x0bchunked"),
    "TE quoted": coded(b'"chunked"'),
    "TE parameter": coded(b"chunked;q=1"),
    "TE chunked twice": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", HELLO),
    "TE chunked, chunked": coded(b"chunked, chunked"),
    "TE empty": coded(b""),
    "TE empty, chunked": coded(b",chunked"),
    "TE in HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", HELLO, version=b"HTTP/1.0"),
    "space before the colon": post(b"Transfer-Encoding : chunked\r\n", HELLO),
    "tab before the colon": post(b"Content-Length\t: 5\r\n"),
    "space before a name": post(b" Transfer-Encoding: chunked\r\n", HELLO),
    "space before the first name": get(host=b" Transfer-Encoding: chunked\r\nHost: a.test\r\n"),
    "folded field": get(b"X-A: 1\r\n 2\r\n"),
    "folded TE": post(b"Transfer-Encoding:\r\n chunked\r\n", HELLO),
    "folded CL": post(b"Content-Length: 5\r\n Transfer-Encoding: chunked\r\n"),
    "CR in a value": get(b"X-A: 1\rTransfer-Encoding: chunked\r\n"),
    "a length smuggled past LF": get(b"X-A: 1\nTransfer-Encoding: chunked\r\n"),
    "a claim smuggled past LF": get(b"X-A: 1\nX-User-ID: mallory\r\n"),
    "lines that end in LF": b"GET /api/work/x HTTP/1.1\nHost: a.test\n\n",
    "a request line that ends in LF": b"GET /api/work/x HTTP/1.1\nHost: a.test\r\n\r\n",
    "a head that ends in LF": b"GET /api/work/x HTTP/1.1\r\nHost: a.test\r\n\n",
    "two empty lines in front": b"\r\n\r\n" + get(),
    "NUL in a value": get(b"X-A: a\0b\r\n"),
    "NUL in a name": get(b"X-\0A: b\r\n"),
    "DEL in a value": get(b"X-A: a\x7fb\r\n"),
    "8 bits in a name": get(b"X-\xe4: x\r\n"),
    "no colon": get(b"X-A\r\n"),
    "no name": get(b": x\r\n"),
    "no Host": get(host=b""),
    "two Hosts": get(b"Host: b.test\r\n"),
    "Host twice": get(HOST),
    "Host with a path": get(host=b"Host: a.test/@b\r\n"),
    "Host with a space": get(host=b"Host: a test\r\n"),
    "Host in 8 bits": get(host=b"Host: \xff\xfe\r\n"),
    "Host with an impossible port": get(host=b"Host: a.test:99999999\r\n"),
    "absolute form, another host": get(line=b"GET http://evil.test/api/work/x HTTP/1.1"),
    "absolute form": get(line=b"GET http://a.test/api/work/x HTTP/1.1"),
    "absolute form without a host": get(line=b"GET http:/api/work/x HTTP/1.1"),
    "authority form": get(line=b"GET a.test:80 HTTP/1.1"),
    "CONNECT": get(line=b"CONNECT a.test:80 HTTP/1.1"),
    "CONNECT to a path": get(line=b"CONNECT /api/work/x HTTP/1.1"),
    "TRACE": get(line=b"TRACE /api/work/x HTTP/1.1"),
    "asterisk": get(line=b"GET * HTTP/1.1"),
    "OPTIONS asterisk": get(line=b"OPTIONS * HTTP/1.1"),
    "no slash": get(line=b"GET api/work/x HTTP/1.1"),
    "method in lower case": get(line=b"get /api/work/x HTTP/1.1"),
    "HTTP/0.9": b"GET /api/work/x\r\n\r\n",
    "HTTP/1.2": get(line=b"GET /api/work/x HTTP/1.2"),
    "HTTP/1.10": get(line=b"GET /api/work/x HTTP/1.10"),
    "HTTP/2.0": get(line=b"GET /api/work/x HTTP/2.0"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version in lower case": get(line=b"GET /api/work/x http/1.1"),
    "tab after the method": get(line=b"GET\t/api/work/x HTTP/1.1"),
    "tab after the target": get(line=b"GET /api/work/x\tHTTP/1.1"),
    "vertical tab after the target": get(line=b"GET /api/work/x\x0bHTTP/1.1"),
    "space after the version": get(line=b"GET /api/work/x HTTP/1.1 "),
    "space before the method": get(line=b" GET /api/work/x HTTP/1.1"),
    "300 fields": get(b"".join(b"X-%d: 1\r\n" % number for number in range(300))),
    "a field of 70 KB": get(b"X-A: " + b"a" * 70_000 + b"\r\n"),
    "a target of 9 KB": get(line=b"GET /api/work/" + b"x" * 9000 + b" HTTP/1.1"),
    "another expectation": post(b"Content-Length: 5\r\nExpect: 200-maybe\r\n"),
    "a WebSocket": get(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
}

BROKEN_OFF: dict[str, bytes] = {
    "chunk size 0x": coded(b"chunked", b"0x5\r\nhello\r\n0\r\n\r\n"),
    "chunk size plus": coded(b"chunked", b"+5\r\nhello\r\n0\r\n\r\n"),
    "chunk size minus": coded(b"chunked", b"-5\r\nhello\r\n0\r\n\r\n"),
    "chunk size underscore": coded(b"chunked", b"0_5\r\nhello\r\n0\r\n\r\n"),
    "space before a chunk size": coded(b"chunked", b" 5\r\nhello\r\n0\r\n\r\n"),
    "space after a chunk size": coded(b"chunked", b"5 \r\nhello\r\n0\r\n\r\n"),
    "no chunk size": coded(b"chunked", b"\r\nhello\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": coded(b"chunked", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "CR in a chunk extension": coded(b"chunked", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    "LF in a chunk extension": coded(b"chunked", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "a chunk extension without end": coded(b"chunked", b"5;" + b"a" * 20_000),
    "chunks that end in LF": coded(b"chunked", b"5\nhello\n0\n\n"),
    "a chunk without its end": coded(b"chunked", b"5\r\nhelloXX0\r\n\r\n"),
    "a chunk that is longer": coded(b"chunked", b"4\r\nhello\r\n0\r\n\r\n"),
    "CL among the trailers": coded(b"chunked", b"5\r\nhello\r\n0\r\nContent-Length: 3\r\n\r\n"),
    "a trailer that is none": coded(b"chunked", b"5\r\nhello\r\n0\r\nX Y: 3\r\n\r\n"),
    "trailers without end": coded(b"chunked", b"5\r\nhello\r\n0\r\n" + b"X-A: a\r\n" * 10_000),
}
"""A body is passed on as it arrives, so what is wrong with its later part is found when its former is on its way."""

PASSED: dict[str, tuple[bytes, bytes]] = {
    "CL": (long(b" 5"), b"hello"),
    "CL among spaces": (long(b"   5  "), b"hello"),
    "CL with a zero in front": (long(b" 05"), b"hello"),
    "chunked": (coded(b"chunked"), b"hello"),
    "chunked in capitals": (coded(b"CHUNKED"), b"hello"),
    "chunked after a tab": (post(b"Transfer-Encoding:\tchunked\r\n", HELLO), b"hello"),
    "chunk sizes with zeros in front": (coded(b"chunked", b"0005\r\nhello\r\n000\r\n\r\n"), b"hello"),
    "a chunk extension": (coded(b"chunked", b"5;a=b\r\nhello\r\n0\r\n\r\n"), b"hello"),
    "trailers": (coded(b"chunked", b"5\r\nhello\r\n0\r\nX-User-ID: mallory\r\n\r\n"), b"hello"),
    "a body that looks like a request": (
        coded(b"chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)),
        SMUGGLED,
    ),
    "GET with a body": (get(b"Content-Length: 5\r\n") + b"hello", b"hello"),
    "GET with chunks": (get(b"Transfer-Encoding: chunked\r\n") + HELLO, b"hello"),
    "Expect: 100-continue": (post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"), b"hello"),
    "Connection names the length": (post(b"Connection: keep-alive, Content-Length\r\nContent-Length: 5\r\n"), b"hello"),
    "Content_Length": (post(b"Content_Length: 5\r\n", b""), b""),
    "Transfer_Encoding": (post(b"Transfer_Encoding: chunked\r\n", b""), b""),
    "Content_Length beside the true one": (post(b"Content_Length: 3\r\nContent-Length: 5\r\n"), b"hello"),
    "an empty line in front": (b"\r\n" + get(), b""),
    "HTTP/1.0, kept alive": (get(b"Connection: keep-alive\r\n", line=b"GET /api/work/x HTTP/1.0", host=b""), b""),
    "an upgrade to HTTP/2": (
        get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
        b"",
    ),
    "98 fields": (get(b"".join(b"X-%d: 1\r\n" % number for number in range(98))), b""),
    "a field of 8 KB": (get(b"X-A: " + b"a" * 8000 + b"\r\n"), b""),
}
"""With the body that the service must get, of a request to /work/x."""

TWO_SPACES = get(line=b"GET /api/work/x  HTTP/1.1")
"""Refused by gunicorn's parser in Python; the one in C takes two spaces for one."""

REFUSED_TARGETS = (
    b"/api/work/..", b"/api/work/../x", b"/api/work/a/../b", b"/api/work/.", b"/api/work/./x", b"/api/work/a/.",
    b"/api/work/%2e%2e/x", b"/api/work/%2E./x", b"/api/work/.%2e/x", b"/api/work/%2e", b"/api/work/%252e%252e",
    b"/api/work/a%2fb", b"/api/work/a%2Fb", b"/api/work/a%5cb", b"/api/work/a\\b", b"/api/work/a//b", b"//api/work/x",
    b"/api//work/x", b"/api/./work/x", b"/x/../api/work/x", b"/api%2fwork/x", b"/api/work/a;x", b"/api/work/a%3bx",
    b"/api/work/a%00b", b"/api/work/a\0b", b"/api/work/%c0%af", b"/api/work/%e0%80%af", b"/api/work/%ed%a0%80",
    b"/api/work/%u002e", b"/api/work/%zz", b"/api/work/%", b"/api/work/a%2", b"/api/work/a b", b"/api/work/a#b",
    b"/api/work/a?b#c", b"/api/work/a?b c", b"/api/work/a?\xff", b"/api/work/\xc3\xa4", b"/api/work/\x80",
    b'/api/work/a"b', b"/api/work/a<b>", b"/api/work/a{b}", b"/api/work/a`b", b"/api/work/a\tb", b"/api/work/a\x0bb",
    b"/api/work/a\x7fb", b"/api/work/a%0d%0ab", b"/api/work/a%85b", b"/api/work/a%c2%85b", b"/api/work", b"/api",
    b"/API/work/x", b"/api/work/http://b.test/", b"/auth/..%2fapi/work/x", b"/api/small/..%2f../auth/session",
)  # fmt: skip
PASSED_TARGETS = (
    b"/api/work/", b"/api/work/?", b"/api/work/a/", b"/api/work/...", b"/api/work/..x", b"/api/work/%41",
    b"/api/work/%7Ea", b"/api/work/%c3%a4", b"/api/work/%C3%a4", b"/api/work/a%20b", b"/api/work/a%2520b",
    b"/api/work/%25zz", b"/api/work/%E2%80%AE", b"/api/work/a|b", b"/api/work/a[b]", b"/api/work/a^b", b"/api/work/*",
    b"/api/work/a@b:c", b"/api/work/~a!$&'()*+,=", b"/api/work/a?%zz", b"/api/work/a?b=../..", b"/api/work/a?;x",
    b"/api/work/a?a?b", b"/api/work/a?a=1&a=2&&", b"/%61pi/work/x", b"/api/%77ork/x",
)  # fmt: skip
