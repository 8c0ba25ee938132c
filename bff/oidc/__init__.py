"""OpenID Connect as a relying party: one module per step of the conversation with a provider."""
