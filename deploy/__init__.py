"""What stands around the BFF. Python is only what makes its files."""
