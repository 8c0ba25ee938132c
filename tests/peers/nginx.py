"""A real web server behind the BFF: Debian's nginx, which serves files with ranges, validators and gzip."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers import install, process

CONFIGURATION = """
daemon off;
master_process off;
error_log stderr;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    types {{ text/plain txt; image/png png; }}
    gzip on;
    gzip_min_length 100;
    gzip_types text/plain;
    server {{
        listen 127.0.0.1:{port};
        root {files};
    }}
}}
"""


@contextmanager
def running(folder: Path, files: Path, *, log: Path | None = None) -> Iterator[str]:
    """Serves what is in files; its address. folder: for its configuration and temporary files."""
    program, port = install.debian("nginx", "nginx-light"), process.free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, files=files, port=port))
    with process.running([program, "-p", folder, "-e", "stderr", "-c", configuration], port=port, log=log):
        yield f"http://127.0.0.1:{port}"
