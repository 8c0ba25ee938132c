"""Token management: returns a working token to each request, with one call to the provider for all (single flight)."""
