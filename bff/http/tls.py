"""What TLS connections of one client have in common, read once and again when a file of it has changed; the last good
one stays when that cannot be used.

requests has urllib3 read the trusted certificates for every new connection, which takes 20 ms of CPU, and
of a call's time.
"""

import logging
import ssl
from pathlib import Path
from typing import Any, NamedTuple

from requests import PreparedRequest
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from urllib3.util.ssl_ import create_urllib3_context

log = logging.getLogger(__name__)


class CertificateFiles(NamedTuple):
    """PEM files. trusted: who vouches for servers, or a folder of them. certificate, key: what the client shows."""

    trusted: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises OSError, which ssl.SSLError is, too."""
        context = create_urllib3_context()
        if self.trusted.is_dir():
            context.load_verify_locations(capath=self.trusted)
        else:
            context.load_verify_locations(self.trusted)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def written(self) -> tuple[int, ...]:
        """When each was, in nanoseconds. Raises OSError."""
        return tuple(file.stat().st_mtime_ns for file in self if file is not None)


class TlsAdapter(HTTPAdapter):
    def __init__(self, *args: Any, **options: Any) -> None:
        self._contexts: dict[CertificateFiles, tuple[tuple[int, ...], ssl.SSLContext]] = {}
        self._complaints: set[str] = set()
        super().__init__(*args, **options)

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        """Called by requests for each call, with a pair of files as cert. (scheme, host and port; the rest of what a
        pool of connections is known by): another context is another pool."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        trusted = Path(verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH)
        return host, {"ssl_context": self._context(CertificateFiles(trusted, *map(Path, cert or ())))}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is left to say to a connection."""

    def _context(self, files: CertificateFiles) -> ssl.SSLContext:
        """Raises OSError when there has been none yet."""
        known = self._contexts.get(files)
        try:
            written = files.written()
            if known is None or known[0] != written:
                known = self._contexts[files] = written, files.context()
        except OSError as err:  # a file is being replaced, or wrong by now
            if known is None:
                raise
            self._complain(err)
        return known[1]

    def _complain(self, err: OSError) -> None:
        """Once for as long as it lasts would need a clock; once for each kind of trouble is enough."""
        kind = type(err).__name__
        if kind not in self._complaints:
            self._complaints.add(kind)
            log.error("certificate_files_unusable", extra={"error": kind})
