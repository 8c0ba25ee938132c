"""Periodic jobs, begun after the worker was forked (ADR 18).

A job either belongs to every worker (its own health checks, its own notes of used sessions) or to the fleet: then one
worker runs it in each period, under a lease in the store.
"""

from bff.tasks.job import Job
from bff.tasks.runner import Tasks

__all__ = ["Job", "Tasks"]
