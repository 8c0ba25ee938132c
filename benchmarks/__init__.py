"""Benchmarks: speed as a ratio against a named reference in the same run, because machines are noisy."""
