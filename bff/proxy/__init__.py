"""API proxy: forwards browsers' requests to services behind the BFF, with the service's token."""
