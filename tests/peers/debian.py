"""A bare Debian 12 in a folder: Python, pip, venv and make, and no compiler; as mmdebstrap makes it.

What it is made of is kept in this user's cache folder, so that only the first run on a machine makes it. A command runs
in it by chroot, in mounts of its own that end with it: /proc, /dev/shm, and what this machine's pip needs to reach its
index (pip.conf, certificates, folders with wheels), at the same paths.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.peers import install

PACKAGES = ("ca-certificates", "make", "python3", "python3-pip", "python3-venv")
SUITE = "bookworm"
SMALLER = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "info", "locale", "man")]
QUICKER = ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"']
PATIENCE = 600
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENTER = """
root=$1; shift
mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/dev/shm"
for path in $SHARED; do
  if [ -d "$path" ]; then mkdir -p "$root$path"; else mkdir -p "$root${path%/*}" && touch "$root$path"; fi
  mount --bind "$path" "$root$path"
done
exec chroot "$root" env -u SHARED "$@"
"""


@contextmanager
def root(folder: Path) -> Iterator[Path]:
    """A fresh one; it is gone afterwards. Skips where there can be none."""
    archive = _archive()
    made = folder / "debian"
    made.mkdir()
    try:
        subprocess.run(["tar", "-xf", archive, "-C", made], check=True, timeout=PATIENCE)
        yield made
    finally:
        shutil.rmtree(made)


def command(root: Path, words: Sequence[str]) -> list[str]:
    """To be started with `environment`. The words: an `env` of its own, as in ["PORT=8000", "make", "run"]."""
    return ["unshare", "--mount", "sh", "-ec", ENTER, "sh", str(root), *words]


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this process's but what concerns pip and the way to its index."""
    passed = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or _leads_out(name)}
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **passed, "SHARED": " ".join(_shared(passed)), **more}


def _leads_out(name: str) -> bool:
    return name.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") or name in (
        "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
    )  # fmt: skip


def _shared(passed: Mapping[str, str]) -> list[str]:
    """Paths that exist here and are to exist there."""
    configured = [Path("/etc/pip.conf"), Path.home() / ".config/pip/pip.conf", Path.home() / ".pip/pip.conf"]
    named = [Path(word) for value in passed.values() for word in value.split() if word.startswith("/")]
    always = [Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/ssl/certs/ca-certificates.crt")]
    return sorted({str(path) for path in (*configured, *named, *always) if path.exists()})


def _archive() -> Path:
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("apt-get") is None:
        install.unavailable("a bare Debian", "only root can make one, on a Debian")
    mmdebstrap = install.debian("mmdebstrap", "mmdebstrap")
    arguments = ["--variant=minbase", f"--include={','.join(PACKAGES)}", *SMALLER, *QUICKER, SUITE]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bff-tests"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"debian-{hashlib.sha256(repr(arguments).encode()).hexdigest()[:16]}.tar"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _make([str(mmdebstrap), "--quiet", "--format=tar", *arguments], archive)
    return archive


def _make(mmdebstrap: list[str], archive: Path) -> None:
    draft = archive.with_suffix(".draft")
    with draft.open("wb") as output:
        made = subprocess.run(mmdebstrap, check=False, stdout=output, stderr=subprocess.PIPE, timeout=PATIENCE)
    if made.returncode:
        draft.unlink()
        install.unavailable("a bare Debian", made.stderr.decode(errors="replace").strip().rpartition("\n")[2])
    draft.rename(archive)
