"""A reading of the configuration: one moment's, and never the end of a master, whatever a file holds."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bff import configuration
from bff.app import create_app
from bff.configuration import ATTEMPTS, Master, Reading
from bff.observability import reloads
from bff.settings import Files, Settings
from bff.settings.files import LONGEST, list_folder, read_file
from bff.settings_hash import hash_of
from tests.clock import Clock

KEY = base64.b64encode(b"k" * 32).decode()
PASSWORD = "a-password-that-nobody-may-read"
POLICY = 'permit(principal, action, resource) when { resource.id == "%s" };'
ROUTES = """services: {orders: {base_url: "http://127.0.0.1:9"}}
routes: [{id: %s, path: /api/orders, service: orders, authz: pdp, authz_map: {resource: order, action: read}}]
"""
BOMB = "a0: &a0 [1, 2]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
NAMES = ("secrets", "routes.yaml", "idps.yaml", "pdp.yaml", "verify.yaml", "policies/all.cedar", "ca.pem", "key.pem")
PROVIDER = {"OIDC_ISSUER": "https://idp.test", "AUTH_CLIENT_ID": "bff"}
NAMING = {
    "ca.pem": {"KAFKA_CA_FILE": "ca.pem", "KAFKA_SECURITY_PROTOCOL": "ssl"},
    "key.pem": {**PROVIDER, "AUTH_CLIENT_KEY_FILE": "key.pem", "TOKEN_AUTH_METHOD": "private_key_jwt"},
}
"""What makes the settings name a file that they name by no default."""
CONTENTS = {
    "not UTF-8": b"\xff\xfe\x00",
    "NUL": b"\x00" * 64,
    "half of it": b"services: {orders: {base_url: 'htt",
    "a list": b"[1, 2]",
    "a number": b"5",
    "nested too deeply": b"[" * 5000,
    "holds itself": b"a: &a {b: *a}\nservices: *a",
    "a bomb of aliases": BOMB.encode(),
    "an object": b"services: !!python/object/apply:os.system ['true']",
    "no date": b"services: {a: 2026-02-30}",
    "keys that are no names": b"services: {1: {}, null: {}, [a]: {}}\nroutes: {a: b}\nproviders: {1.5: {}, ? {}: 3}",
    "wrong types": b"services: 5\nroutes: [5, null, [], {id: {}}]\nproviders: [a]\nprofiles: a\nconnection: []",
    "wrong types within": b"services: {a: [], b: {base_url: 5, ca_file: {}}}\nproviders: {a: {issuer: [], claims: 5}}",
    "a path that is none": b'services: {orders: {base_url: "https://a.test", ca_file: "\\0"}}\nroutes: []',
    "a key in a path that is none": b'providers: {a: {issuer: "https://a.test", client_id: b, client_key_file: "\\0"}}',
    "half a policy": b"permit(principal, action",
    "a policy with a template": b"permit(principal == ?principal, action, resource);",
    "numbers without end": b"services: {a: {timeout: 1e999999}, b: {max_concurrent: " + b"9" * 5000 + b"}}",
    "too long": b"#" * (LONGEST + 1),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    write(tmp_path, "first")
    for name in ("idps.yaml", "pdp.yaml", "verify.yaml"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "secrets").write_text(KEY)
    return tmp_path


def write(folder: Path, version: str) -> None:
    """Routes and policies of one version."""
    (folder / "routes.yaml").write_text(ROUTES % version)
    (folder / "policies" / "all.cedar").write_text(POLICY % version)


def environ(folder: Path) -> dict[str, str]:
    return {
        "BFF_CONFIG_DIR": str(folder),
        "BFF_DATA_DIR": str(folder / "data"),
        "BFF_SECRETS_FILE": str(folder / "secrets"),
        "METRICS_TOKEN": PASSWORD,
    }


def read(folder: Path, **options: Any) -> Reading:
    return configuration.read(environ(folder), wait=lambda _: None, **options)


def settings(folder: Path) -> Settings:
    reading = read(folder)
    assert reading.problems == ()
    assert reading.settings is not None
    return reading.settings


@pytest.fixture
def master(folder: Path) -> Master:
    started = Master(Clock())
    started.start(settings(folder))
    return started


def reload(master: Master, reading: Reading, build: Callable[[Settings], Any] = create_app) -> list[str]:
    return master.prepare(reading, build, lambda _: ())


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", NAMES)
def test_no_content_of_a_file_ends_a_master(folder: Path, master: Master, name: str, content: str) -> None:
    """A wrong one is refused, and the rest of what a reload does goes on with the running configuration."""
    (folder / name).write_bytes(CONTENTS[content])
    given, running = environ(folder) | NAMING.get(name, {}), master.running
    given |= {variable: str(folder / name) for variable in given if given[variable] == name}
    problems = reload(master, configuration.read(given, wait=lambda _: None))
    assert problems
    assert not any("The configuration cannot be used" in line for line in problems), problems
    assert PASSWORD not in str(problems)
    assert (master.take(), master.running) == (None, running)


def made(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "endless":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "dangling":
            path.symlink_to(folder / "nowhere")


@pytest.mark.parametrize("kind", ["gone", "folder", "fifo", "endless", "loop", "dangling"])
@pytest.mark.parametrize("name", ["secrets", "routes.yaml", "policies/all.cedar"])
def test_nor_does_what_is_no_file(folder: Path, master: Master, name: str, kind: str) -> None:
    made(folder, name, kind)
    reading = read(folder)
    absent = kind == "gone" or (kind == "dangling" and name == "routes.yaml")
    assert bool(reading.problems) == (not absent or name != "routes.yaml"), "that file alone may be missing"
    assert not any("The configuration cannot be used" in line for line in reading.problems), reading.problems


class Rewriting:
    """Files that a deployment rewrites between two reads, so many times."""

    def __init__(self, folder: Path, times: int, after: str) -> None:
        self.folder, self.left, self.after, self.version = folder, times, after, 0
        self.reads: list[str] = []

    def __call__(self) -> Files:
        return Files(self.read, list_folder)

    def read(self, path: Path) -> bytes:
        content = read_file(path)
        self.reads.append(path.name)
        if self.left and path.name == self.after:
            self.left -= 1
            self.version += 1
            write(self.folder, f"v{self.version}")
        return content


@pytest.mark.parametrize("after", ["routes.yaml", "all.cedar", "secrets"])
def test_routes_and_policies_are_of_one_moment(folder: Path, after: str) -> None:
    reading = read(folder, files=Rewriting(folder, 1, after))
    assert reading.settings is not None
    ((_, policy),) = reading.settings.pdp.policies.texts
    (route,) = reading.settings.routes
    assert (route.id, policy) == ("v1", POLICY % "v1")


def test_files_that_never_stay_as_they_are_are_refused(folder: Path, master: Master) -> None:
    rewriting = Rewriting(folder, 10_000, "routes.yaml")
    problems = reload(master, read(folder, files=rewriting))
    assert f"{folder / 'routes.yaml'}: changes while it is read." in problems
    assert rewriting.reads.count("routes.yaml") == 2 * ATTEMPTS
    assert master.take() is None


def test_a_file_that_comes_while_others_are_read_is_read_too(folder: Path) -> None:
    def read_and_add(path: Path) -> bytes:
        (folder / "policies" / "more.cedar").write_text(POLICY % "more")
        return read_file(path)

    (folder / "policies" / "all.cedar").rename(folder / "policies" / "none.txt")
    reading = read(folder, files=lambda: Files(read_and_add))
    assert reading.settings is not None
    assert [path.name for path, _ in reading.settings.pdp.policies.texts] == ["more.cedar"]


def test_what_was_read_is_what_is_built_from(folder: Path, master: Master) -> None:
    """Though every file is another one, or none, by then."""
    write(folder, "second")
    reading = read(folder)
    for name in ("routes.yaml", "policies/all.cedar", "secrets"):
        (folder / name).write_text("[")
    assert reload(master, reading) == []
    new = master.take()
    assert new is not None
    assert master.running is new
    assert [rule.rule for rule in new.app.url_map.iter_rules() if "orders" in rule.rule]


def test_a_build_that_fails_is_a_refusal(folder: Path, master: Master) -> None:
    def build(_: Settings) -> None:
        raise RuntimeError(PASSWORD)

    (line,) = reload(master, read(folder), build)
    assert line.startswith("The configuration cannot be used: RuntimeError in test_configuration.py:")
    assert PASSWORD not in line
    assert master.take() is None


def test_a_refusal_leaves_nothing_of_the_reload_before(folder: Path, master: Master) -> None:
    assert reload(master, read(folder)) == []
    assert reload(master, Reading(None, ("wrong",))) == ["wrong"]
    assert master.take() is None


# The hash.


def changes(folder: Path) -> Iterator[Callable[[Settings], Settings]]:
    yield lambda given: replace(given, secrets=(b"l" * 32,))
    yield lambda given: replace(given, secrets=(*given.secrets, b"l" * 32))
    yield lambda given: replace(given, log_level="debug")
    yield lambda given: replace(given, metrics=replace(given.metrics, token="another"))
    yield lambda given: replace(given, routes=())
    yield lambda given: replace(given, pdp=replace(given.pdp, policies=replace(given.pdp.policies, texts=())))
    yield lambda given: replace(given, store=replace(given.store, redis_url="redis://redis.test"))


def test_each_difference_is_another_hash_and_nothing_else_is(folder: Path) -> None:
    given = settings(folder)
    hashes = {hash_of(given), *(hash_of(change(given)) for change in changes(folder))}
    assert len(hashes) == 1 + len(list(changes(folder)))
    (folder / "routes.yaml").write_text("# a remark\n" + ROUTES % "first")
    assert hash_of(settings(folder)) == hash_of(given), "where a route stands is of no consequence"


def test_no_guess_can_be_tried_on_a_hash(folder: Path) -> None:
    """Without the key it says nothing of the rest."""
    given = settings(folder)
    assert len(hash_of(given)) == 16
    assert hash_of(given) != hash_of(replace(given, secrets=(b"m" * 32,)))


# What a scrape shows of it.


def shown(folder: Path) -> dict[str, Any]:
    families = reloads.Reloads(folder).collect()
    return {sample.name: sample.labels.get("hash", sample.value) for each in families for sample in each.samples}


def test_a_scrape_shows_what_the_master_has_in_effect(tmp_path: Path) -> None:
    assert shown(tmp_path) == {}
    reloads.note(tmp_path, "abc", 5.0, successful=True)
    expected = {"bff_config_last_reload_successful": 1, "bff_config_last_reload_success_timestamp_seconds": 5}
    assert shown(tmp_path) == {**expected, "bff_config_info": "abc"}
    reloads.note(tmp_path, "abc", 5.0, successful=False)
    assert shown(tmp_path)["bff_config_last_reload_successful"] == 0
    reloads.forget(tmp_path)
    assert shown(tmp_path) == {}


@pytest.mark.parametrize("left", ["[", "[1]", '["abc", "x", 1]', "5"])
def test_what_is_no_note_is_ignored_and_so_are_masters_that_are_gone(tmp_path: Path, left: str) -> None:
    (tmp_path / f"configuration_{os.getpid()}.json").write_text(left)
    (tmp_path / "configuration_99999999.json").write_text(json.dumps(["abc", 5.0, True]))
    (tmp_path / "configuration_me.json").write_text(json.dumps(["abc", 5.0, True]))
    assert shown(tmp_path) == {}


def test_two_masters_that_serve_at_once_are_both_shown(tmp_path: Path) -> None:
    reloads.note(tmp_path, "new", 7.0, successful=True)
    (tmp_path / f"configuration_{os.getppid()}.json").write_text(json.dumps(["old", 5.0, False]))
    found = [sample for each in reloads.Reloads(tmp_path).collect() for sample in each.samples]
    assert {sample.labels["hash"] for sample in found if sample.labels} == {"old", "new"}
    assert [sample.value for sample in found if not sample.labels] == [0, 7]
