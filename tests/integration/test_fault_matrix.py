"""Whatever dies, fills up, vanishes or stalls: nothing half is visible, and the same command ends.

Scheduler, workers and client are processes of their own. Every time the bits are those of a run
that was left alone, and no more is processed again than what was lost, and a tenth of the whole.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time

import pytest
import yaml
from clusters import (
    Cluster,
    Work,
    freeze,
    kill,
    recorded,
    thaw,
    wait_until,
)
from commands import contents

from cpflow import Repo
from cpflow.io.zarr_product import content_hash
from cpflow.scheduler import load_profile, run_plan

pytestmark = pytest.mark.slow

QUERY = "instrument='LATISS' AND detector=0"
ROWS = 10
PAUSE = 0.004


@pytest.fixture
def cluster(tmp_path):
    with Cluster(tmp_path / "cluster", pace=PAUSE) as started:
        yield started


@pytest.fixture
def reference(repo):
    """What threads make of the same plan."""
    plan = repo.plan("bias", QUERY, band_rows=ROWS)
    return content_hash(plan.run(output_run="u/test/threads").product)


@pytest.fixture
def work(repo):
    return Work(repo.detector("LATISS", 0).raw_shape[0], ROWS)


def command(root, cluster, output, *more):
    return [
        sys.executable, "-m", "cpflow", "run", "-b", str(root), "-p", "bias", "-d", QUERY,
        "-o", output, "--band-rows", str(ROWS), "--cluster", cluster, *more,
    ]  # fmt: skip


def start(root, cluster, output, *more):
    return subprocess.Popen(
        command(root, cluster, output, *more),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(root, cluster, output, *more):
    """The same command again; it must succeed. Returns what it logged."""
    done = subprocess.run(
        command(root, cluster, output, *more), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def built(repo, output):
    assert not [p for p in (repo.root / ".staging").iterdir() if p.is_dir()], "nothing is left"
    return content_hash(repo.get("bias", collections=output, detector=0))


def whole(repo, cluster, work, output="u/test/calm"):
    """How many rows a run that is left alone processes."""
    cluster.forget()
    profile = load_profile(cluster.address)
    run_plan(repo.plan("bias", QUERY, band_rows=ROWS), output=output, profile=profile)
    assert work.most_often(cluster.calls()) == 1
    return work.rows(cluster.calls())


def check_redone(cluster, work, total, lost):
    """Nothing was processed again but what was lost, and a tenth of all."""
    redone = work.rows(cluster.calls()) - total
    assert redone <= lost + 0.1 * total, f"{redone} of {total} rows again, {lost} were lost"
    return redone


def test_a_worker_is_killed_at_any_moment(repo, cluster, work, reference):
    """Twenty times: the run goes on, the other worker and a new one do the rest."""
    total = whole(repo, cluster, work)
    calls = cluster.begun()
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    redone = []
    plan = repo.plan("bias", QUERY, band_rows=ROWS)
    profile = load_profile(cluster.address)
    for number in range(20):
        cluster.wait_for_workers()
        cluster.forget()
        lost = []
        moment = chance.randrange(1, calls)

        def strike(_, moment=moment, lost=lost):
            if lost or cluster.begun() < moment:
                return
            victim = chance.choice(sorted({call.pid for call in cluster.calls()}))
            subprocess.run(["kill", "-9", str(victim)], check=True)
            done = recorded(repo.root)
            lost.append(work.lost([c for c in cluster.calls() if c.pid == victim], done))

        output = f"u/test/killed{number}"
        run_plan(plan, output=output, profile=profile, listener=strike)
        assert built(repo, output) == reference, f"seed {seed}, kill {number}"
        if lost:
            redone.append(check_redone(cluster, work, total, lost[0]))
    assert len(redone) >= 15, "kills fell into the runs"
    assert max(redone) > 0, "and something was lost"


def test_the_client_is_killed(repo, cluster, work, reference):
    """Nothing of its run is visible, the workers drop it, and the same command does the rest."""
    total = whole(repo, cluster, work)
    calls = cluster.begun()
    before = contents(repo.root)
    for number, part in enumerate((0.02, 0.5, 0.9)):
        output = f"u/test/client{number}"
        cluster.forget()
        client = start(repo.root, cluster.address, output)
        wait_until(lambda moment=part * calls: cluster.begun() >= moment, "work")
        kill(client)
        client.communicate()
        now = contents(repo.root)
        assert now == before, "nothing of it is visible"
        lost = work.lost(cluster.calls(), recorded(repo.root))
        told = finish(repo.root, cluster.address, output)
        assert "resuming run" in told
        assert built(repo, output) == reference
        check_redone(cluster, work, total, lost)
        before = contents(repo.root)


def test_the_scheduler_is_killed(repo, cluster, work, reference):
    """Exit code 7 and what to do; with a scheduler again the same command does the rest."""
    total = whole(repo, cluster, work)
    calls = cluster.begun()
    before = contents(repo.root)
    for number, part in enumerate((0.05, 0.7)):
        output = f"u/test/scheduler{number}"
        cluster.forget()
        client = start(repo.root, cluster.address, output)
        wait_until(lambda moment=part * calls: cluster.begun() >= moment, "work")
        for process in cluster.processes:
            kill(process)
        lost = work.lost(cluster.calls(), recorded(repo.root))
        _, errors = client.communicate(timeout=60)
        assert client.returncode == 7, errors
        assert "the cluster went away" in errors
        assert "run the same command again to resume" in errors
        assert "Traceback" not in errors, errors
        assert contents(repo.root) == before

        cluster.processes.clear()
        cluster.start_scheduler()
        for _ in range(2):
            cluster.start_worker()
        cluster.wait_for_workers()
        assert "resuming run" in finish(repo.root, cluster.address, output)
        assert built(repo, output) == reference
        check_redone(cluster, work, total, lost)
        before = contents(repo.root)


def test_a_worker_over_its_memory_limit(repo, tmp_path, work, reference):
    """Once: it is started again and the run goes on. Always: the run names the exposure."""
    victim = repo.exposures()[5].exposure
    with Cluster(tmp_path / "cluster", memory="1GB") as cluster:
        total = whole(repo, cluster, work)
        cluster.forget()
        (cluster.directory / f"hog-{victim}-once").touch()
        told = finish(repo.root, cluster.address, "u/test/once")
        assert "Traceback" not in told
        assert built(repo, "u/test/once") == reference
        # One look at the exposure is lost, and what the dead worker had not yet written.
        check_redone(cluster, work, total, 2 * work.frame)

        before = contents(repo.root)
        cluster.forget()
        (cluster.directory / f"hog-{victim}").touch()
        limit = tmp_path / "site.yaml"
        address = {"kind": "address", "address": cluster.address}
        limit.write_text(yaml.safe_dump({**address, "limits": {"allowed_failures": 1}}))
        client = start(repo.root, str(limit), "u/test/always")
        _, errors = client.communicate(timeout=120)
        assert client.returncode == 4, errors
        assert f"measuring exposure {victim} ended" in errors
        assert f"exposure={victim}" in run_log(repo.root, "u/test/always")
        assert "memory" in errors
        assert "Traceback" not in errors
        after = contents(repo.root)
        assert after["datasets"] == before["datasets"]
        assert after["files"] == before["files"]

        cluster.wait_for_workers()
        (cluster.directory / f"hog-{victim}").unlink()
        lost = work.lost(cluster.calls(), recorded(repo.root))
        finish(repo.root, str(limit), "u/test/always")
        assert built(repo, "u/test/always") == reference
        check_redone(cluster, work, total, lost)


def run_log(root, output):
    (log,) = (root / "logs" / output).glob("*/run.log")
    return log.read_text()


def test_a_file_vanishes_after_it_was_measured(own_repo, own_biases, cluster, work):
    """The product fails and names it; when it is back, the same command does the rest."""
    repo = own_repo
    total = whole(repo, cluster, work)
    reference = built(repo, "u/test/calm")
    victim = own_biases.paths[3]
    exposure = repo.exposures()[3].exposure
    before = contents(repo.root)
    cluster.forget()
    client = start(repo.root, cluster.address, "u/test/vanished")
    wait_until(lambda: any(call.rows and call.rows[0] >= 50 for call in cluster.calls()), "bands")
    away = victim.with_name("away")
    victim.rename(away)
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 4, errors
    for words in (victim.name, str(exposure), "not there", "the same command"):
        assert words in errors, errors
    assert "Traceback" not in errors
    after = contents(repo.root)
    assert after["datasets"] == before["datasets"]
    assert after["files"] == before["files"]
    away.rename(victim)
    lost = work.lost(cluster.calls(), recorded(repo.root))
    finish(repo.root, cluster.address, "u/test/vanished")
    assert built(repo, "u/test/vanished") == reference
    check_redone(cluster, work, total, lost)


_PROXY = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def serve(reader, writer):
    there = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    await asyncio.gather(pump(reader, there[1]), pump(there[0], writer), return_exceptions=True)

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture
def network(cluster):
    """A process that all between client and scheduler passes through."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROXY, str(cluster.port)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    yield process, f"tcp://127.0.0.1:{int(process.stdout.readline())}"
    thaw(process)
    kill(process)
    process.stdout.close()


def test_the_network_stalls(repo, cluster, network, work, reference, tmp_path):
    """A short while: the run goes on. Longer than the profile allows: it is said, and resumed."""
    process, address = network
    total = whole(repo, cluster, work)
    calls = cluster.begun()
    profile = tmp_path / "site.yaml"
    limits = {"silence_timeout": 4}
    profile.write_text(yaml.safe_dump({"kind": "address", "address": address, "limits": limits}))

    cluster.forget()
    client = start(repo.root, str(profile), "u/test/short")
    wait_until(lambda: cluster.begun() >= 0.3 * calls, "work")
    freeze(process)
    time.sleep(2.5)
    assert client.poll() is None
    thaw(process)
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 0, errors
    assert built(repo, "u/test/short") == reference
    check_redone(cluster, work, total, 0)

    before = contents(repo.root)
    cluster.forget()
    client = start(repo.root, str(profile), "u/test/long")
    wait_until(lambda: cluster.begun() >= 0.3 * calls, "work")
    freeze(process)
    _, errors = client.communicate(timeout=60)
    assert client.returncode == 7, errors
    assert "the scheduler has not answered for" in errors
    assert "silence_timeout" in errors
    assert "Traceback" not in errors
    assert contents(repo.root) == before
    # The network is dead, the scheduler is not: it may go on with what it was given.
    lost = work.lost(cluster.calls(), recorded(repo.root))
    finish(repo.root, cluster.address, "u/test/long")
    assert built(repo, "u/test/long") == reference
    check_redone(cluster, work, total, lost)


# -- a full disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, 24 MiB, and a function that leaves so many bytes of it free."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    filler = place / "filler"

    def leave(free: int) -> None:
        filler.unlink(missing_ok=True)
        size = shutil.disk_usage(place).free - free
        with filler.open("wb") as handle:
            for _ in range(size // 4096):
                handle.write(bytes(4096))

    yield place, leave, filler
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_the_disk_is_full(repo, small_disk, reference, tmp_path, work, where):
    """From no room at all to nearly enough: said so, nothing half is visible, and resumed."""
    disk, _, _ = small_disk
    root = disk / "repo"
    repo.close()
    shutil.copytree(repo.root, root)
    if where == "threads":
        sizes = [0, 20_000, 150_000, 500_000, 1_000_000]
        codes = [fill(root, "threads", size, small_disk, reference) for size in sizes]
    else:
        codes = []
        with Cluster(tmp_path / "cluster") as cluster, Repo(root) as small:
            total = whole(small, cluster, work)
            for size in (200_000, 900_000):
                cluster.forget()
                lost = []
                codes.append(
                    fill(
                        root,
                        cluster.address,
                        size,
                        small_disk,
                        reference,
                        lambda lost=lost: lost.append(work.lost(cluster.calls(), recorded(root))),
                    )
                )
                # What could be written was kept.
                check_redone(cluster, work, total, lost[0] if lost else 0)
    assert codes[0] == 4
    assert set(codes) <= {0, 4}


def fill(root, where, free, disk, reference, failed=lambda: None):
    """Run with so many bytes free, then with room; return the first exit code."""
    _, leave, filler = disk
    output = f"u/test/full{free}"
    before = contents(root)
    leave(free)
    done = subprocess.run(command(root, where, output), capture_output=True, text=True, check=False)
    filler.unlink()
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert "the same command again" in done.stderr, done.stderr
        assert "room" in done.stderr
        assert contents(root) == before, "nothing of it is visible"
        failed()
        finish(root, where, output)
    with Repo(root) as small:
        assert built(small, output) == reference
    return done.returncode
