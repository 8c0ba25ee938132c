"""Policy enforcement: asks a policy decision point whether a subject may act on a resource (AuthZEN 1.0)."""
