"""The only package that knows gunicorn. A worker's module is named after its WEB_WORKER_CLASS."""
