"""The same settings without the BFF's hooks, so that a reference runs under identical ones."""

from pathlib import Path

_own = Path(__file__).resolve().parent / "own_conf.py"
exec(compile(_own.read_text(), str(_own), "exec"))
for _hook in ("on_reload", "pre_request", "post_worker_init", "worker_exit"):
    del globals()[_hook]
