"""Logging in and out: the steps of a person's way, with what they leave in the store."""
