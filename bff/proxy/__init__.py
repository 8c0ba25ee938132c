"""Requests of browsers to services behind the BFF: what is passed on, with which token, and what comes back."""
