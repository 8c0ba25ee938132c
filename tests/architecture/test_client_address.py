"""One place says who sent a request: whoever reads the peer's address or a forwarding header elsewhere believes others
than bff/web/client_address.py does."""

import ast

from tests.architecture import source

ONLY = "bff/web/client_address.py"
WRITERS = ("bff/dev/in_process.py", "bff/server/fast_http.py")
"""Make WSGI environments: for calls of the BFF by itself, and for what a worker reads off a connection."""

KEYS = {"REMOTE_ADDR", "REMOTE_PORT", "HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP"}
HEADERS = {"x-forwarded-for", "forwarded", "x-real-ip"}
ATTRIBUTES = {"remote_addr", "access_route"}


def wrong_readers(path: str, text: str) -> list[str]:
    found = []
    for node in ast.walk(source.parse(text)):
        match node:
            case ast.Constant(value=str(name)) if name in KEYS:
                found.append((node.lineno, name))
            case ast.Attribute(attr=name) if name in ATTRIBUTES:
                found.append((node.lineno, name))
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
                found += [(node.lineno, name)] if name.lower() in HEADERS else []
            case ast.Subscript(slice=ast.Constant(value=str(name)), ctx=ast.Load()) if name.lower() in HEADERS:
                found.append((node.lineno, name))
    return [f"{path}:{line}: reads {name}. Only {ONLY} may: ask Clients who it was." for line, name in found]


def test_nothing_else_reads_it() -> None:
    sources = {path: text for path, text in source.files().items() if path not in (ONLY, *WRITERS)}
    wrong = [line for path, text in sources.items() for line in wrong_readers(path, text)]
    assert not wrong, "\n".join(wrong)


def test_the_rule_sees_what_it_forbids() -> None:
    for bad in (
        "environ.get('REMOTE_ADDR')",
        "environ['HTTP_FORWARDED']",
        "request.remote_addr",
        "request.access_route[0]",
        "request.headers.get('X-Forwarded-For', '')",
        "request.headers['forwarded']",
    ):
        assert len(wrong_readers("bff/bad.py", bad)) == 1, bad
    assert wrong_readers("bff/good.py", "headers['Forwarded'] = 'for=192.0.2.1'") == []
