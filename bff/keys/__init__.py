"""Signing keys and the file that holds them. `python -m bff.keys` creates and rotates that file."""
