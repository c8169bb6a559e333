"""Locks on files that are removed with their directory while others wait for them."""

from __future__ import annotations

import threading

import pytest

from cpflow.errors import UsageError
from cpflow.locks import hold, is_held
from cpflow.store import Store


def test_one_holds_it(tmp_path):
    path = tmp_path / "a" / "lock"
    assert not is_held(path)
    with hold(path, seconds=0):
        assert is_held(path)
        with pytest.raises(BlockingIOError), hold(path, seconds=0.05):
            pass
    assert not is_held(path)
    with hold(path, seconds=0), hold(tmp_path / "other", seconds=0):
        pass


def test_who_waits_for_a_directory_that_is_discarded_gets_one_of_his_own(tmp_path):
    """Otherwise he would go on where the other has just ended, in what is being deleted."""
    store = Store(tmp_path)
    staging = store.staging("plan")
    found = []

    def wait():
        with hold(staging.lock, seconds=30):
            found.append((staging.facts(), staging.lock.exists(), is_held(staging.lock)))

    with store.locked(staging):
        staging.write_facts({"run": "u/me/1"})
        thread = threading.Thread(target=wait)
        thread.start()
        with pytest.raises(UsageError, match="being run by another process"), store.locked(staging):
            pass
        store.discard(staging)
        assert not staging.path.exists()
    thread.join(30)
    assert found == [({}, True, True)]
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["plan"]


def test_looking_keeps_nobody_out(tmp_path):
    """`doctor` looks at all staging directories while runs begin."""
    store = Store(tmp_path)
    staging = store.staging("plan")
    over = threading.Event()

    def look():
        while not over.is_set():
            store.leftovers()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for one in lookers:
        one.start()
    try:
        for _ in range(200):
            with store.locked(staging):
                store.discard(staging)
    finally:
        over.set()
        for one in lookers:
            one.join()
    assert store.stagings() == [], "looking makes nothing"


def test_names_are_chosen_one_after_the_other(tmp_path):
    store = Store(tmp_path)
    inside = []

    def choose():
        for _ in range(20):
            with store.naming():
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    threads = [threading.Thread(target=choose) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert list((tmp_path / ".staging").iterdir()) == []
