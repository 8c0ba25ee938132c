"""The URL parser of browsers (the WHATWG URL Standard), as Node.js brings it: one process, asked line by line."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.peers import install

ENDS_WITHIN = 10
_PROGRAM = """
require("readline").createInterface({input: process.stdin}).on("line", line => {
    const [text, base] = JSON.parse(line)
    let origin = null
    try { origin = new URL(text, base).origin } catch {}
    console.log(JSON.stringify(origin))
})
"""


@contextmanager
def parser() -> Iterator[Callable[[str, str], str | None]]:
    """(address, address of the page it is followed from) to the origin where a browser ends up; None for no address."""
    node = shutil.which("node")
    if node is None:
        install.unavailable("node", "Node.js is needed")
    with subprocess.Popen(
        [node, "-e", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        told, said = process.stdin, process.stdout
        assert told is not None
        assert said is not None

        def origin(text: str, base: str) -> str | None:
            print(json.dumps([text, base]), file=told)
            found: str | None = json.loads(said.readline())
            return found

        try:
            yield origin
        finally:
            told.close()
            process.wait(ENDS_WITHIN)
