"""Login and logout: each step of a user's way, and its records in the store."""
