"""Everything that knows gunicorn. The module of a worker has the name of its WEB_WORKER_CLASS."""
