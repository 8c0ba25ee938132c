"""Periodic jobs, started after the worker was forked (ADR 18).

Every worker runs its own jobs (health checks, notes of used sessions). A job of the fleet runs in one worker in each
period, under a lease in the store.
"""

from bff.tasks.job import Job
from bff.tasks.runner import Tasks

__all__ = ["Job", "Tasks"]
