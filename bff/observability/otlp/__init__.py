"""OTLP export: the traces, attributes and metrics that leave this process (OpenTelemetry protocol)."""
