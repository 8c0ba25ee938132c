"""A Dockerfile without Docker: its very steps in a fresh folder, and its command under the same confinement.

Every absolute path of the image is a path below the folder, for all stages together, so COPY --from copies nothing.
What concerns the machine instead of the folder (groupadd, useradd, apt-get) is the one kind of step that is left out.
No step finds a compiler, as none would in the base images, unless an argument asks for one. Where this user may, the
command runs as the image's user, with no right but to read, on a root that is read-only except for /dev/shm.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LEFT_OUT = re.compile(r"\b(groupadd|apt-get) ")
COMPILERS = ("cc", "gcc", "g++", "c++", "clang", "x86_64-linux-gnu-gcc", "cargo", "rustc")
PATIENCE = 300
READ_ONLY = """
mount -o remount,bind,ro / &&
exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --inh-caps=-all,+dac_read_search \
  --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search -- "$@"
"""


class Step(NamedTuple):
    """An instruction of a Dockerfile, such as COPY, and the rest of its line."""

    word: str
    rest: str


def steps(dockerfile: str) -> list[Step]:
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    logical = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [Step(*line.split(maxsplit=1)) for line in logical]


class Image:
    """What a Dockerfile makes. folder: a fresh one, which stands for the root of its file system. arguments: those of
    --build-arg."""

    def __init__(self, context: Path, folder: Path, arguments: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._context = context
        self._steps = steps((context / "Dockerfile").read_text())
        self._ignored = (context / ".dockerignore").read_text().split()
        self._workdir = PurePosixPath("/")
        self._given = dict(arguments or {})
        self._arguments: dict[str, str] = {}
        self.environ: dict[str, str] = {}
        self.user = "0:0"

    def build(self, *, stages: int | None = None) -> None:
        """stages: how many of them, if not all."""
        for step in self._steps[: self._end(stages)]:
            if step.word == "FROM":
                self._arguments, self.environ, self.user, self._workdir = {}, {}, "0:0", PurePosixPath("/")
            elif step.word == "RUN" and not LEFT_OUT.search(step.rest):
                self._run(step.rest)
            elif step.word == "ARG":
                name, _, value = step.rest.partition("=")
                self._arguments[name] = self._given.get(name, value)
            elif step.word == "COPY":
                self._copy(step.rest.split())
            elif step.word == "WORKDIR":
                self._workdir /= step.rest
                self.here.mkdir(parents=True, exist_ok=True)
            elif step.word == "ENV":
                self.environ |= dict(pair.split("=", 1) for pair in step.rest.split())
            elif step.word == "USER":
                self.user = step.rest

    @property
    def here(self) -> Path:
        return self._real(str(self._workdir))

    def command(self, word: str = "CMD") -> list[str]:
        """CMD, or the one of HEALTHCHECK. Raises ValueError when there is none."""
        for step in reversed(self._steps):
            if step.word == word:
                given: list[str] = json.loads(step.rest[step.rest.index("[") :])
                return self._found(given)
        raise ValueError(f"no {word}")

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """All that the command finds in its environment."""
        found = {name: value.replace("$PATH", BASE_PATH) for name, value in self.environ.items()}
        path = ":".join(str(self._real(one)) if self._ours(one) else one for one in self._path())
        return {"HOME": str(self.here), **found, "PATH": path, **more}

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of change by path."""
        everything = (path.lstat() for path in self.folder.rglob("*"))
        names = (str(path) for path in self.folder.rglob("*"))
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in zip(names, everything, strict=True)}

    def _end(self, stages: int | None) -> int | None:
        """Where the stage after so many begins."""
        begins = [place for place, step in enumerate(self._steps) if step.word == "FROM"]
        return None if stages is None or stages == len(begins) else begins[stages]

    def _run(self, commands: str) -> None:
        shell = commands
        for path in sorted(self._paths(commands), key=len, reverse=True):
            shell = re.sub(rf"(?<![\w/.]){re.escape(path)}(?=[/\s]|$)", str(self._real(path)), shell)
        result = subprocess.run(
            ["sh", "-ec", shell],
            cwd=self.here, env=self._environment_of_steps(),
            check=False, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        if result.returncode:
            raise RuntimeError(f"{commands}\n{result.stdout[-1000:]}{result.stderr[-1000:]}")

    def _environment_of_steps(self) -> dict[str, str]:
        found = {name: value for name, value in self.environ.items() if name != "PATH"}
        env = {**os.environ, **self._arguments, **found}
        if not any(self._arguments.values()):
            env |= {"CC": "/bin/false", "PATH": f"{self._no_compilers()}:{env['PATH']}"}
        return env

    def _no_compilers(self) -> Path:
        """A folder for PATH to begin with."""
        folder = self.folder.with_name(f"{self.folder.name}-no-compilers")
        folder.mkdir(exist_ok=True)
        for name in COMPILERS:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to("/bin/false")
        return folder

    def _copy(self, words: Sequence[str]) -> None:
        *sources, target = words
        if sources[0].startswith("--from="):
            assert self._real(target).is_dir(), f"no stage has made {target}"
            return
        for source in sources:
            origin = self._context / source
            to = self.here / target if len(sources) == 1 and origin.is_dir() else self.here / target / origin.name
            if origin.is_dir():
                shutil.copytree(origin, to, ignore=self._ignore)
            else:
                assert not self._is_ignored(source), f".dockerignore keeps {source} away"
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(origin, to)

    def _ignore(self, folder: str, names: list[str]) -> list[str]:
        parent = Path(folder).relative_to(self._context)
        return [name for name in names if self._is_ignored((parent / name).as_posix())]

    def _is_ignored(self, path: str) -> bool:
        """The last pattern that fits the path or a folder above it decides."""
        ignored = False
        for pattern in self._ignored:
            wanted = pattern.removeprefix("!")
            if any(_fits(wanted, one) for one in _and_above(path)):
                ignored = not pattern.startswith("!")
        return ignored

    def _found(self, command: list[str]) -> list[str]:
        """With the program's whole path, as the image's PATH has it."""
        program = shutil.which(command[0], path=self.environment({})["PATH"])
        assert program is not None, f"the image has no {command[0]}"
        return [program, *command[1:]]

    def _path(self) -> list[str]:
        return self.environ.get("PATH", "$PATH").replace("$PATH", BASE_PATH).split(":")

    def _ours(self, path: str) -> bool:
        return self._real(path).is_dir()

    def _real(self, path: str) -> Path:
        return self.folder / path.lstrip("/")

    def _paths(self, commands: str) -> set[str]:
        """Absolute paths at the top of the image that a command names."""
        return {found[0] for found in re.finditer(r"(?<![\w/.])/(?!dev/|usr/|bin/)\w+", commands)}


def _fits(pattern: str, path: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatch(PurePosixPath(path).name, pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatch(path, pattern)


def _and_above(path: str) -> Iterator[str]:
    yield path
    yield from (str(parent) for parent in PurePosixPath(path).parents if str(parent) != ".")


@cache
def may_confine() -> bool:
    """Whether this user may make mounts of its own: root, where no container forbids it."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    attempt = ["unshare", "--mount", "sh", "-c", READ_ONLY.format(user=10001, group=10001), "sh", "true"]
    return subprocess.run(attempt, check=False, capture_output=True, timeout=PATIENCE).returncode == 0


def confined(image: Image, command: Sequence[str]) -> list[str]:
    """The command as the image's user on a read-only root, as far as this user may arrange it."""
    if not may_confine():
        return list(command)
    user, _, group = image.user.partition(":")
    return ["unshare", "--mount", "sh", "-c", READ_ONLY.format(user=user, group=group or user), "sh", *command]
