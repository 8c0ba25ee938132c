"""Make a real server's program available, or skip with one clear line; in CI (CI=true) its absence is a failure."""

import fcntl
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

APT_TIMEOUT = 600
ROOT = Path(__file__).parents[2]


def unavailable(what: str, why: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} must run in CI but cannot: {why}")
    pytest.skip(f"{what} is not available: {why}")


@functools.cache
def debian(program: str, package: str) -> Path:
    """The path of a program that Debian packages, installed with apt-get when this user may."""
    found = shutil.which(program)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt(program, package)
        found = shutil.which(program)
    if found is None:
        unavailable(program, f"install it with: apt-get install {package}")
    return Path(found)


def _apt(program: str, package: str) -> None:
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several pytest processes one installs, the others wait
        if shutil.which(program) is None:
            _apt_install(package)


def _apt_install(package: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    policy = Path("/usr/sbin/policy-rc.d")
    if not policy.exists():  # a freshly installed server must not start by itself
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-yqq", "--no-install-recommends", package]):
        subprocess.run(command, env=env, check=False, timeout=APT_TIMEOUT, capture_output=True)


@functools.cache
def npm(folder: Path) -> Path:
    """`folder`/node_modules as its package-lock.json says, installed when absent or older than that."""
    if shutil.which("npm") is None:
        unavailable(folder.name, "Node.js with npm is needed")
    with (folder / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several pytest processes one installs, the others wait
        modules = folder / "node_modules"
        if not _fresh(modules / ".package-lock.json", Path(lock.name)):
            _npm_ci(folder)
    return modules


def _fresh(installed: Path, wanted: Path) -> bool:
    return installed.exists() and installed.stat().st_mtime >= wanted.stat().st_mtime


def _npm_ci(folder: Path) -> None:
    result = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=folder,
        check=False,
        capture_output=True,
        timeout=APT_TIMEOUT,
    )
    if result.returncode:
        unavailable(folder.name, result.stderr.decode(errors="replace")[-300:])


@functools.cache
def venv(folder: Path) -> Path:
    """The Python of `folder`/.venv, which has what requirements.txt there says; made when absent or older than that."""
    with (folder / "requirements.txt").open() as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)
        complete = folder / ".venv" / "complete"
        if not _fresh(complete, Path(wanted.name)):
            _pip_install(folder)
            complete.touch()
    return folder / ".venv" / "bin" / "python"


def _pip_install(folder: Path) -> None:
    """With our own pip, and nothing compiled: of most modules nothing is ever imported."""
    home, wanted = str(folder / ".venv"), str(folder / "requirements.txt")
    pip = ["-m", "pip", "--disable-pip-version-check", "--python", f"{home}/bin/python"]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", "--clear", home],
        [sys.executable, *pip, "install", "-q", "--no-compile", "-r", wanted],
    ):
        result = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=APT_TIMEOUT
        )
        if result.returncode:
            unavailable(folder.name, result.stdout.strip().rpartition("\n")[2])


@functools.cache
def fast_parser() -> Path:
    """A folder that holds what requirements-fast.txt says; compiled when absent or older than that.

    Beside the virtual environment's packages, not among them: a program finds it there only if it is told to.
    """
    with (ROOT / "requirements-fast.txt").open() as wanted:
        fcntl.flock(wanted, fcntl.LOCK_EX)
        folder = Path(sys.prefix) / "fast"
        if not _fresh(folder / "complete", Path(wanted.name)):
            _compile(folder, Path(wanted.name))
            (folder / "complete").touch()
    return folder


def _compile(folder: Path, wanted: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "-q", "--target", str(folder), "-r", str(wanted)]
    result = subprocess.run(
        [sys.executable, *pip], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=APT_TIMEOUT
    )
    if result.returncode:
        unavailable("gunicorn's parser in C", "it takes a C compiler and Python's headers")
