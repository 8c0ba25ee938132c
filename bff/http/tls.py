"""Cache of TLS contexts: certificate files are read once, and again after a change; the last valid context stays when
they cannot be used.

By default urllib3 reads the trusted certificates for every new connection, which takes 20 ms of CPU, and of a call's
time.
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
    """PEM files. trusted: certificate authorities, or a folder of them. certificate, key: the client certificate."""

    trusted: Path
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A TLS context of these files. Raises OSError, the base class of ssl.SSLError."""
        context = create_urllib3_context()
        if self.trusted.is_dir():
            context.load_verify_locations(capath=self.trusted)
        else:
            context.load_verify_locations(self.trusted)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context

    def written(self) -> tuple[int, ...]:
        """The files' modification times in nanoseconds. Raises OSError."""
        return tuple(file.stat().st_mtime_ns for file in self if file is not None)


class TlsAdapter(HTTPAdapter):
    def __init__(self, *args: Any, **options: Any) -> None:
        self._contexts: dict[CertificateFiles, tuple[tuple[int, ...], ssl.SSLContext]] = {}
        self._complaints: set[str] = set()
        super().__init__(*args, **options)

    def build_connection_pool_key_attributes(self, request: PreparedRequest, verify: Any, cert: Any = None) -> Any:
        """The key of a connection pool: (scheme, host and port; TLS context), so a new context gets a new pool.
        requests calls it for each call. cert: a pair of files."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] != "https":
            return host, {}
        trusted = Path(verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH)
        return host, {"ssl_context": self._context(CertificateFiles(trusted, *map(Path, cert or ())))}

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing, since the context already has the certificates."""

    def _context(self, files: CertificateFiles) -> ssl.SSLContext:
        """The context of the files, or the last valid one. Raises OSError when there is none yet."""
        known = self._contexts.get(files)
        try:
            written = files.written()
            if known is None or known[0] != written:
                known = self._contexts[files] = written, files.context()
        except OSError as err:  # a file is being replaced, or is invalid now
            if known is None:
                raise
            self._complain(err)
        return known[1]

    def _complain(self, err: OSError) -> None:
        """Logs each kind of failure once; once per outage would need a clock."""
        kind = type(err).__name__
        if kind not in self._complaints:
            self._complaints.add(kind)
            log.error("certificate_files_unusable", extra={"error": kind})
