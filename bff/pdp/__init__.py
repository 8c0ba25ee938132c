"""May this subject do that to this resource? Asked of a policy decision point (AuthZEN 1.0)."""
