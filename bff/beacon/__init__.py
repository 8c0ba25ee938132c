"""Beacon: reports from browsers, and the filter for data that must not be in them."""
