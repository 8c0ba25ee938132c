"""Signing keys: what they are, and the file they stand in. `python -m bff.keys` makes and rotates it."""
