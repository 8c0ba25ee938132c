"""What leaves this process by OTLP, the OpenTelemetry protocol: which traces, which of their facts, which metrics."""
