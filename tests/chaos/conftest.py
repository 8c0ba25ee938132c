"""A fault needs what an end-to-end test needs: a folder of its own, and proof that no process was left behind."""

from tests.e2e.conftest import _nothing_left_behind, _shared_ends, folder

__all__ = ["_nothing_left_behind", "_shared_ends", "folder"]
