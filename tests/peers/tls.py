"""A WSGI app behind real TLS on the loopback address, which may demand a certificate from its clients."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from tests.peers.certificates import Certificates

PATIENT = 5.0


class Quiet(WSGIRequestHandler):
    """Tells the app the client's certificate as SSL_CLIENT_CERT, in PEM."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        return


@contextmanager
def served(app: Callable[..., Any], files: Certificates, *, mutual: bool = False) -> Iterator[str]:
    """The app's https origin. mutual: only clients with a certificate of the same authority get in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files.ca)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join(PATIENT)
        server.server_close()
