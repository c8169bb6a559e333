"""Runs that are published at the same time into one new chain: all of them are in it."""

from __future__ import annotations

import threading

from registries import CAM, ref

from cpflow.registry import Registry

ROUNDS, PROCESSES = 10, 6


def test_all_runs_are_in_a_chain_that_each_would_make(url: str, registry: Registry) -> None:
    """One of them makes it; to the others it must not look new."""
    registry.register_collection(f"{CAM}/raw/all", "RUN")
    barrier = threading.Barrier(PROCESSES)
    failures: list[BaseException] = []

    def publish(number: int) -> None:
        try:
            with Registry.open(url) as own:
                for i in range(ROUNDS):
                    run = f"out{i}/{number}"
                    barrier.wait(60)
                    own.publish(run, [ref(run)], chain=f"out{i}", chain_inputs=[f"{CAM}/raw/all"])
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(PROCESSES)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
    for i in range(ROUNDS):
        *runs, raws = registry.collection(f"out{i}").children
        assert sorted(runs) == [f"out{i}/{number}" for number in range(PROCESSES)]
        assert raws == f"{CAM}/raw/all"


def test_what_is_published_while_it_is_removed(url: str, registry: Registry) -> None:
    """Each takes its locks in the same order; neither waits for the other for ever."""
    registry.publish("out/0", [ref("out/0", detector=0)], chain="out")
    barrier = threading.Barrier(2)
    failures: list[BaseException] = []

    def act(what: str) -> None:
        try:
            with Registry.open(url) as own:
                for i in range(30):
                    barrier.wait(60)
                    if what == "remove":
                        own.remove_runs("out/*", unlink=True)
                    else:
                        own.publish("out/0", [ref("out/0", detector=i % 3 + 1)], chain="out")
                    barrier.wait(60)
                    if what == "remove" and "out/0" not in own.collection_names():
                        own.publish("out/0", [ref("out/0")], chain="out")
        except BaseException as error:
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=act, args=(what,)) for what in ("remove", "publish")]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failures == []
