"""The BFF's own gunicorn settings, hooks included, on addresses that a benchmark chose."""

from pathlib import Path

from benchmarks import balanced

_own = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
exec(compile(_own.read_text(), str(_own), "exec"))  # the settings themselves, not a copy that drifts
bind, post_fork = balanced.addresses(), balanced.post_fork
