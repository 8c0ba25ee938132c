"""The HTTP faces of the modules below: thin views, one pipeline, and verify in front of Flask."""
