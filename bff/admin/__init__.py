"""`python -m bff.admin`: an operator looks at the sessions of a fleet and ends some, whether or not it is running.

It reads the settings that the server reads and works on the store that the server works on; it asks no server.
"""
