"""OpenID Connect relying party: one module per exchange with a provider."""
