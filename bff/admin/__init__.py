"""`python -m bff.admin`: an operator lists and ends sessions of a fleet, while the server runs or not.

The command reads the server's settings and works on the server's store; it asks no server.
"""
