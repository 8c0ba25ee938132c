"""A service that streams, breaks off and never answers, and remembers byte for byte what it was sent.

On asyncio alone, so that hundreds of open streams cost next to nothing. `tests/peers/service.py` runs it.
"""
