"""Sends commands, scripts and batches to one server; with ASKING before each while a slot moves to it.

While a slot moves (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec, "ASK redirection") its
node redirects commands with keys that it no longer has, or never had, to the next one by ASK. Each read of a batch is
redirected alone: the next node would report keys that have not moved yet as missing.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import redis
from redis.client import Pipeline

Command = tuple[str | bytes | float, ...]


class RedisNode:
    def __init__(
        self, client: Any, elsewhere: Callable[[redis.exceptions.AskError], AbstractContextManager["RedisNode"]] | None
    ) -> None:
        """elsewhere: opens the node that an ASK names; None for the client of such a node, which has one connection."""
        self._client = client
        self._elsewhere = elsewhere

    def command(self, *command: str | bytes | float) -> Any:
        self._ask()
        return self._client.execute_command(*command)

    def script(self, text: str, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Runs a script by its digest; redis-py sends the text to a server that lacks it."""
        script = self._client.register_script(text)
        if self._elsewhere is None:
            self._client.script_load(text)  # first, since ASKING covers one command only
        self._ask()
        return script(keys, arguments)

    def batch(self, commands: Sequence[Command], *, atomic: bool) -> list[Any]:
        self._ask()  # covers a whole transaction
        pipeline: Any = _Pipeline(self._client.connection_pool, self._client.response_callbacks, atomic, None)
        for command in commands:
            pipeline.execute_command(*command)
        if atomic:
            replies: list[Any] = pipeline.execute()
            return replies
        answered = zip(pipeline.execute(raise_on_error=False), commands, strict=True)
        return [self._settled(reply, command) for reply, command in answered]

    def _settled(self, reply: Any, command: Command) -> Any:
        if isinstance(reply, redis.exceptions.AskError) and self._elsewhere is not None:
            with self._elsewhere(reply) as node:
                return node.command(*command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _ask(self) -> None:
        if self._elsewhere is None:
            self._client.execute_command("ASKING")


class _Pipeline(Pipeline):
    def annotate_exception(self, exception: Exception, number: int, command: Any) -> None:
        """redis-py would copy the command, and with it the value, into the exception's text."""
