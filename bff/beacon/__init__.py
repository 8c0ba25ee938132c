"""What browsers report, and what must not be in it."""
