"""What is made in a shared directory is for its group, whatever the umask; nothing else changes."""

from __future__ import annotations

import os
import stat

import pytest

from cpflow.errors import AccessError, UsageError
from cpflow.locks import hold
from cpflow.permissions import denied, make_directory, share_tree
from cpflow.repo import Repository
from cpflow.repo.sharing import not_shared, share_with
from cpflow.store import Store, write_text

SHARED, PRIVATE = 0o2770, 0o755


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def make(root):
    """Something of all kinds: directories, a text, a lock, a tree, a program."""
    make_directory(root / "a" / "b")
    write_text(root / "a" / "text", "x")
    with hold(root / "a" / "lock", seconds=0):
        pass
    tree = root / "a" / "tree"
    (tree / "c").mkdir(parents=True)
    (tree / "zarr.json").write_text("{}")
    (tree / "run").touch(0o755)
    share_tree(tree)
    return [root / "a" / name for name in ("text", "lock", "tree/zarr.json")]


@pytest.mark.parametrize("access", [0o2770, 0o2775])
def test_in_a_shared_directory(tmp_path, umask, access):
    tmp_path.chmod(access)
    for file in make(tmp_path):
        assert mode(file) == access & 0o666, file
    for name in ("a", "a/b", "a/tree", "a/tree/c"):
        assert mode(tmp_path / name) == access, name
    assert mode(tmp_path / "a/tree/run") == access & 0o777


@pytest.mark.parametrize("access", [0o755, 0o770, 0o2755])
def test_elsewhere_the_umask_decides(tmp_path, umask, access):
    tmp_path.chmod(access)
    for file in make(tmp_path):
        assert mode(file) == 0o666 & ~umask, file
    for name in ("a", "a/b", "a/tree", "a/tree/c"):
        assert mode(tmp_path / name) & 0o777 == 0o777 & ~umask, name


def test_a_repository_that_is_made_in_a_shared_directory(tmp_path, umask):
    """SQLite takes 0644 for its file, whatever the umask."""
    tmp_path.chmod(SHARED)
    with Repository.create(tmp_path / "repo") as repository:
        assert mode(repository.root) == SHARED
        repository.registry.register_collection("u/me/run", "RUN")
        assert {path.name[:15] for path in repository.root.iterdir()} > {"registry.sqlite"}
        for path in repository.root.iterdir():
            assert mode(path) == 0o660, path


def test_links_lead_to_what_is_not_ours(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    root.mkdir()
    outside.write_text("raw")
    outside.chmod(0o600)
    os.link(outside, root / "hard")
    (root / "soft").symlink_to(outside)
    share_with(root, str(os.getegid()), sqlite=True)
    share_tree(root)
    assert mode(outside) == 0o600
    assert not_shared(root, sqlite=True) == []


def test_sharing_a_repository_that_exists(tmp_path):
    store = Store(tmp_path)
    files = ["products/u/x.zarr/zarr.json", "graphs/mine.py", "registry.sqlite", "logs/u/run.log"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
        (tmp_path / name).parent.chmod(0o700)
    tmp_path.chmod(0o700)
    assert not_shared(tmp_path, sqlite=True) == []
    assert share_with(tmp_path, str(os.getegid()), sqlite=True) == []
    assert [oct(mode(tmp_path / name)) for name in files] == ["0o660", "0o640", "0o660", "0o660"]
    assert mode(tmp_path) == mode(tmp_path / "products" / "u") == SHARED
    assert mode(tmp_path / "graphs") == 0o2750, "code is the owner's"
    assert not_shared(tmp_path, sqlite=True) == []

    # Where the registry is elsewhere, so is the root.
    share_with(tmp_path, str(os.getegid()), sqlite=False)
    assert mode(tmp_path) == 0o2750
    write_text(store.staging("x").facts_path, "{}")
    assert mode(store.staging("x").facts_path) == 0o660

    # What was put there by hand.
    (tmp_path / "products" / "by hand").mkdir(0o755)
    (tmp_path / "logs" / "u" / "run.log").chmod(0o600)
    found = not_shared(tmp_path, sqlite=False)
    assert {path.name for path in found} == {"by hand", "run.log"}


def test_a_group_that_is_not(tmp_path):
    with pytest.raises(UsageError, match="there is no group 'nobody is in it'"):
        share_with(tmp_path, "nobody is in it", sqlite=True)


def test_a_refusal_says_whose_it_is(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    file.chmod(0o640)
    error = denied(PermissionError(13, "Permission denied", str(file)))
    assert isinstance(error, AccessError)
    assert f"{file}: Permission denied for user " in error.message
    assert "-rw-r-----" in error.message
    beneath = denied(PermissionError(13, "Permission denied", str(tmp_path / "a" / "b")))
    assert f"; {tmp_path} belongs to " in beneath.message
    assert denied(PermissionError("no name")).message == "no name"
