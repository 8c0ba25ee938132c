"""Observability: metrics, logs and traces of the BFF itself."""
