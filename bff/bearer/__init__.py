"""Resource server (RFC 6750): access tokens that callers present."""
