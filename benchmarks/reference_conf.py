"""The BFF's own gunicorn settings without its hooks, so that a reference runs under identical ones."""

from pathlib import Path

_own = Path(__file__).resolve().parent.parent / "gunicorn.conf.py"
exec(compile(_own.read_text(), str(_own), "exec"))  # the settings themselves, not a copy that drifts
for _hook in ("on_reload", "post_worker_init", "worker_exit"):
    del globals()[_hook]
