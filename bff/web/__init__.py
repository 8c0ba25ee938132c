"""HTTP layer: thin views over the layers below, one pipeline around them, and verify in front of Flask."""
