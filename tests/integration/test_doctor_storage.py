"""What a repository stands on: permissions, sharing, locks, space, and its database."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest
import yaml
from commands import cpflow
from hindered import cpflow_process, held_to_permissions, without_flock
from registries import postgresql_database

from cpflow.repo import Repository, storage
from cpflow.repo.sharing import share_with

GROUP = 61234


@pytest.fixture
def root(tmp_path):
    """A repository with the places that a first run makes."""
    Repository.create(tmp_path / "repo", "generic").close()
    for name in ("products", ".staging", "logs"):
        (tmp_path / "repo" / name).mkdir()
    return tmp_path / "repo"


def doctor(root, code=0, **how):
    """Findings of the repository by subject, in a process of its own."""
    done = cpflow_process("doctor", root, "--json", code=code, **how)
    return by_subject(json.loads(done.stdout))


def by_subject(told):
    found = {}
    for one in (*told["findings"], *told["sound"]):
        if one["group"] == "repository":
            found.setdefault(one["subject"], []).append(one)
    return found


def test_what_is_sound(root):
    found = by_subject(cpflow("doctor", root, "--json").json)
    assert {one["level"] for of in found.values() for one in of} == {"ok"}
    assert "may build here" in found["permissions"][0]["problem"]
    assert found["locks"][0]["problem"] == f"work in {root}/.staging"
    assert "SQLite 3." in found["registry"][0]["problem"]
    assert "schema 000" in found["registry"][0]["problem"]
    assert " free, the largest product has 0 B" in found["space"][0]["problem"]
    assert sorted(path.name for path in root.iterdir()) == [
        ".staging", "cpflow.yaml", "logs", "products", "registry.sqlite",
    ]  # fmt: skip
    assert list((root / ".staging").iterdir()) == []


def test_a_repository_that_may_only_be_read(root):
    """All is told: no traceback, though neither locks nor the database can be written."""
    modes = {path: path.stat().st_mode for path in (root, *root.iterdir())}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        done = cpflow_process("doctor", root, "--json", before=held_to_permissions(), code=2)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    told = json.loads(done.stdout)
    found = by_subject(told)
    assert {one["level"] for one in found["permissions"]} == {"warning"}
    problems = [one["problem"] for one in found["permissions"]]
    for place in (root, root / "products", root / ".staging", root / "logs"):
        assert any(text.startswith(f"{place}: Permission denied for ") for text in problems)
    assert "dr-xr-xr-x" in problems[0]
    assert "--shared GROUP" in found["permissions"][0]["remedy"]
    assert "cannot be used" in found["registry"][0]["problem"]


def test_one_place_that_may_not_be_written(root):
    (root / ".staging").chmod(0o555)
    try:
        found = doctor(root, before=held_to_permissions())
    finally:
        (root / ".staging").chmod(0o755)
    (one,) = found["permissions"]
    assert one["problem"].startswith(f"{root}/.staging: Permission denied")
    assert "locks" not in found, "nobody can tell"


def test_a_repository_for_a_group(root):
    if os.geteuid() != 0:
        pytest.skip("only root may give files to a group that it is not in")
    share_with(root, str(GROUP), sqlite=True)
    found = by_subject(cpflow("doctor", root, "--json").json)
    assert found["sharing"][0]["problem"] == "all that is here is for its group"
    mine = root / "products" / "mine"
    mine.mkdir(mode=0o700)
    (one,) = by_subject(cpflow("doctor", root, "--json").json)["sharing"]
    assert one["level"] == "warning"
    assert one["problem"] == f"the group of this repository cannot use {mine}"
    assert one["remedy"] == f"who owns that, or root, runs: cpflow init {root} --shared {GROUP}"
    # The remedy helps.
    cpflow(*one["remedy"].partition("cpflow ")[2].split())
    assert by_subject(cpflow("doctor", root, "--json").json)["sharing"][0]["level"] == "ok"


def test_a_repository_that_is_shared_by_halves(root):
    """As `chmod -R g+w` leaves it."""
    if os.geteuid() != 0:
        pytest.skip("only root may give files to a group that it is not in")
    os.chown(root / "products", -1, GROUP)
    (root / "products").chmod(0o775)
    (one,) = by_subject(cpflow("doctor", root, "--json").json)["sharing"]
    assert one["level"] == "warning"
    assert "drwxrwxr-x has no setgid bit, and the umask of each user decides" in one["problem"]
    assert f"--shared {GROUP}" in one["remedy"]


def test_a_repository_that_everybody_may_write(root):
    root.chmod(0o777)
    done = cpflow("doctor", root)
    assert f"warning: sharing: everybody on this machine may write {root}" in done.stdout
    assert f"    chmod o-w {root}\n" in done.stdout
    assert "nothing is wrong" not in done.stdout


def test_locks_that_do_not_work(root):
    found = doctor(root, before=without_flock(), code=4)
    (one,) = found["locks"]
    assert one["level"] == "error"
    assert one["problem"] == (
        f"flock does not work in {root}/.staging: No locks available; every run needs a lock"
    )
    assert "nolock" in one["remedy"]


def test_a_network_file_system_is_named(root, monkeypatch):
    monkeypatch.setattr(storage, "network_file_system", lambda path: "nfs4")
    (one,) = by_subject(cpflow("doctor", root, "--json").json)["locks"]
    assert one["problem"] == f"work in {root}/.staging, on nfs4"


def test_too_little_space_for_what_was_interrupted(root):
    """A file of holes, larger than the disk."""
    band = root / ".staging" / "0123" / "bands" / "x"
    band.parent.mkdir(parents=True)
    with band.open("wb") as handle:
        handle.truncate(10 * 2**40)
    found = by_subject(cpflow("doctor", root, "--json").json)
    (one,) = found["space"]
    assert one["level"] == "warning"
    assert "the largest staging has 10.0 TiB" in one["problem"]
    assert "--clean" in one["remedy"]
    cpflow("doctor", root, "--clean")
    assert by_subject(cpflow("doctor", root, "--json").json)["space"][0]["level"] == "ok"


def test_too_little_space_for_the_largest_product(root):
    with Repository(root) as repository:
        registry = repository.registry
        registry.register_instrument("C", {"name": "C"}, "")
        registry.register_detector("C", 0, "C")
        make_large(registry, 2**50)
        (one,) = (one for one in storage.examine_space(repository) if one.level != "ok")
    assert "the largest product has 1024.0 TiB" in one.problem


def make_large(registry, size):
    """Register a product of a size; there is no such file."""
    from dataclasses import replace

    from registries import ref

    from cpflow.registry import DataId

    one = replace(ref("u/x"), data_id=DataId("C", 0, None), size=size)
    registry.publish("u/x", [one])


# -- databases -----------------------------------------------------------------------------------


@pytest.mark.postgresql
def test_a_registry_in_postgresql(tmp_path):
    with postgresql_database() as url:
        root = tmp_path / "repo"
        cpflow("init", root, "--instrument", "generic", "--db", url)
        (one,) = by_subject(cpflow("doctor", root, "--json").json)["registry"]
        assert "PostgreSQL 1" in one["problem"]
        assert "schema 000" in one["problem"]
    # The server is there, the database is not any more.
    (one,) = by_subject(cpflow("doctor", root, "--json", code=2).json)["registry"]
    assert one["level"] == "error"
    assert one["problem"].startswith("there is no registry at postgresql+psycopg://")


def named(root, port):
    """Have a repository's registry at a port of this machine."""
    url = f"postgresql+psycopg://me:s3cret@127.0.0.1:{port}/calib"
    (root / "cpflow.yaml").write_text(yaml.safe_dump({"version": 1, "registry": url}))


def served(root, answer):
    """Have a repository's registry at a server of one's own, which says something."""
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(8)
            if answer is None:
                connection.recv(1)
            else:
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    named(root, port)
    return server


def test_a_server_that_is_not_there(root):
    """What can be told without it is told; the exit code is that of every command."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    named(root, port)
    done = cpflow("doctor", root, code=1)
    assert "ok: locks" in done.stdout
    assert f"error: registry: the registry postgresql+psycopg://me:***@127.0.0.1:{port}/calib " in (
        done.stdout
    )
    assert "Connection refused" in done.stdout
    assert (
        f"    see whether the server runs and lets you in: pg_isready -h 127.0.0.1 -p {port}"
        in (done.stdout)
    )
    assert "s3cret" not in done.stdout + done.stderr
    assert "Connection refused" in done.stderr


def test_a_server_that_is_no_postgresql_or_says_nothing(root, monkeypatch):
    server = served(root, b"HTTP/1.1 400 Bad Request\r\n")
    with server:
        assert "what answers there is not PostgreSQL" in cpflow("doctor", root, code=1).stdout
    monkeypatch.setattr(storage, "_PATIENCE", 0.5)
    server = served(root, None)
    with server:
        assert "timed out" in cpflow("doctor", root, code=1).stdout


def test_findings_are_json_when_the_registry_cannot_be_opened(root):
    (root / "registry.sqlite").write_bytes(b"no database" * 1000)
    told = cpflow("doctor", root, "--json", code=1).json
    (one,) = told["findings"]
    assert (one["group"], one["level"], one["subject"]) == ("repository", "error", "registry")
    assert "backup" in one["remedy"]
