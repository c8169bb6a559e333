"""`cpflow daily`: good and bad nights, twice, two at once, killed half-way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import cpflow
from spoiled import imaging, spoil

from cpflow import Repo
from cpflow.daily.acceptance import accepted
from cpflow.daily.history import add_to_history, read_history, unusual
from cpflow.daily.options import Acceptance, Baseline
from cpflow.errors import DataError
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import bias_sequence, simulate

NIGHT = """
instrument: LATISS
steps:
  - {product: bias, where: observation_type='bias', min_exposures: 4, certify: true}
"""


@pytest.fixture(scope="module")
def camera():
    return scaled(load_instrument("latiss"), 16)


@pytest.fixture
def site(camera, tmp_path):
    """A repository with a certified bias of the day before, and the description of a night."""
    dump_instrument(camera, tmp_path / "instrument.yaml")
    (tmp_path / "night.yaml").write_text(NIGHT)
    Repo.create(tmp_path / "repo", tmp_path / "instrument.yaml").close()
    with Repo(tmp_path / "repo") as repo:
        simulate(tmp_path / "20210120", camera, bias_sequence(6, 20210120))
        repo.ingest(tmp_path / "20210120")
        run = repo.plan("bias", "").run(output_run="master")
        repo.certify(run, "LATISS/calib", begin="2020-01-01", end="2022-01-01")
    return tmp_path


def frames(site, camera, day, change=None, count=6):
    made = simulate(site / str(day), camera, bias_sequence(count, day))
    with Repo(site / "repo") as repo:
        detector = repo.detector("LATISS", 0)
    for path in made.paths if change is not None else ():
        spoil(path, detector, change)
    return site / str(day)


def daily(site, day, *more, code=0):
    return cpflow(
        "daily", site / "repo", day, *more, "-C", site / "night.yaml", "--json", code=code
    ).json


def light(arrays, detector):
    """A gradient in one amplifier, and a column."""
    pixels = imaging(arrays, detector, "C04")
    pixels += np.linspace(-8, 8, pixels.shape[0])[:, None]


def files(root):
    return {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*"))}


def held(site, collection="LATISS/calib/daily/bias"):
    with Repo(site / "repo") as repo:
        return [str(c) for c in repo.certified(collection)]


def test_a_good_night_is_built_verified_and_certified_for_its_day(site, camera):
    done = daily(site, 20210121, frames(site, camera, 20210121))
    (step,) = done["steps"]
    assert done["ingested"] == 6
    assert (step["external"], step["internal"]) == ("pass", "pass")
    with Repo(site / "repo") as repo:
        (certified,) = repo.certified("LATISS/calib/daily/bias")
        assert str(certified.timespan).startswith("[2021-01-21T12:00:00, 2021-01-22T12:00:00)")
        assert certified.verdict == "verified"
        inside = repo.exposures("day_obs=20210121")[0].exposure
        found = repo.find(
            "bias", collections="LATISS/calib/daily/bias", exposure=inside, detector=0
        )
        assert found is not None
        assert found.run == step["run"]
    assert len(step["reports"]) == 2
    assert (site / "repo/daily/20210121/internal-bias.html").stat().st_size > 10_000
    written = json.loads((site / "repo/daily/20210121/summary.json").read_text())
    assert written == done
    records = read_history(site / "repo/daily/history.ndjson")
    assert [r["kind"].split("/")[0] for r in records] == ["external", "internal"]


def test_the_second_time_nothing_changes(site, camera):
    raws = frames(site, camera, 20210121)
    daily(site, 20210121, raws)
    before = files(site / "repo" / "products")
    certified, history = held(site), (site / "repo/daily/history.ndjson").read_text()
    again = daily(site, 20210121, raws)
    assert again["ingested"] == 0
    assert files(site / "repo" / "products") == before
    assert held(site) == certified
    assert (site / "repo/daily/history.ndjson").read_text() == history


def test_a_bad_night_is_told_and_not_certified(site, camera):
    daily(site, 20210121, frames(site, camera, 20210121))
    before = held(site)
    bad = daily(site, 20210122, frames(site, camera, 20210122, light), code=5)
    (step,) = bad["steps"]
    assert step["external"] == "fail"
    assert any("C04 STRUCTURE" in failure for failure in step["failures"])
    # Built from the same frames it has the same gradient: as a bias of this night it is sound.
    assert step["internal"] == "pass"
    assert len(held(site)) == 2
    assert set(before) <= set(held(site))
    noisy = frames(site, camera, 20210123, broken)
    worse = daily(site, 20210123, noisy, code=5)
    assert worse["steps"][0]["internal"] == "fail"
    assert not worse["steps"][0]["certified"]
    assert len(held(site)) == 2


def broken(arrays, detector):
    rng = np.random.default_rng(int(arrays["C04"][0, 0]))
    arrays["C04"] += rng.normal(0, 12, arrays["C04"].shape)


def test_frames_that_come_later_make_a_new_product_and_the_old_one_stays(site, camera):
    raws = frames(site, camera, 20210121, count=6)
    first = daily(site, 20210121, raws)["steps"][0]["run"]
    more = simulate(site / "later", camera, bias_sequence(3, 20210121, 100))
    second = daily(site, 20210121, more.paths[0].parent)["steps"][0]["run"]
    assert second == f"{first}-2"
    with Repo(site / "repo") as repo:
        (certified,) = repo.certified("LATISS/calib/daily/bias")
        assert certified.dataset.run == second
        assert repo.registry.datasets("bias", collections=[first])


def test_too_few_frames_and_an_unknown_day(site, camera):
    (step,) = daily(site, 20210125)["steps"]
    assert step["note"] == "0 exposures, 4 are needed"
    assert not (site / "repo/daily/20210125/internal-bias.html").exists()
    done = cpflow("daily", site / "repo", 20211399, "-C", site / "night.yaml", code=2)
    assert "20211399 is no observing day" in done.stderr


def test_a_file_that_cannot_be_read_is_told(site, camera):
    raws = frames(site, camera, 20210121)
    (raws / "broken.fits").write_bytes(b"SIMPLE  =                    T" + b" " * 2000)
    done = daily(site, 20210121, raws, code=4)
    assert len(done["refused"]) == 1
    assert "broken.fits" in done["refused"][0]
    assert done["steps"][0]["internal"] == "pass"


def test_the_notify_command_gets_the_summary(site, camera):
    raws = frames(site, camera, 20210121)
    daily(site, 20210121, raws, "--notify-command", f"cat > {site / 'told.json'}")
    assert json.loads((site / "told.json").read_text())["day_obs"] == 20210121


def command(site, day, *more):
    return [
        sys.executable, "-m", "cpflow", "daily", str(site / "repo"), str(day), *map(str, more),
        "-C", str(site / "night.yaml"), "--json",
    ]  # fmt: skip


def test_two_at_once_exclude_each_other(site, camera):
    raws = frames(site, camera, 20210121, count=12)
    both = [
        subprocess.Popen(
            command(site, 20210121, raws), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    done = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    # Either one is refused, or it came when the other was done and found nothing to do.
    assert codes in ([0, 2], [0, 0])
    if codes == [0, 2]:
        refused = next(d for d, p in zip(done, both, strict=True) if p.returncode == 2)
        assert "another process is at a night" in refused[1]
        assert "pid" in refused[1]
    assert len(held(site)) == 1


@pytest.mark.parametrize("after", [1.5, 2.5, 3.5, 4.5])
def test_a_night_that_was_killed_is_finished_by_the_next_run(site, camera, after):
    raws = frames(site, camera, 20210121)
    process = subprocess.Popen(
        command(site, 20210121, raws),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(after)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (step,) = daily(site, 20210121, raws)["steps"]
    assert (step["external"], step["internal"]) == ("pass", "pass")
    assert len(held(site)) == 1


# -- parts ---------------------------------------------------------------------------------------


def test_history_is_by_night_and_kind_and_tells_what_is_unusual(tmp_path):
    path = tmp_path / "history.ndjson"
    rng = np.random.default_rng(2)
    for day in range(20210101, 20210121):
        values = {"LEVEL": rng.normal(0, 0.1), "NOISE": 5.0}
        add_to_history(path, [{"day_obs": day, "product": "bias", "kind": "x", "medians": values}])
    assert len(read_history(path)) == 20
    add_to_history(
        path, [{"day_obs": 20210105, "product": "bias", "kind": "x", "medians": {"LEVEL": 0.0}}]
    )
    assert len(read_history(path)) == 20
    good = {"day_obs": 20210121, "product": "bias", "kind": "x", "medians": {"LEVEL": 0.1}}
    bad = {**good, "medians": {"LEVEL": 2.0, "NEW": 1.0}}
    assert unusual(good, read_history(path), Baseline()) == []
    (note,) = unusual(bad, read_history(path), Baseline())
    assert note.startswith("LEVEL is 2, usual is ")
    early = {**bad, "day_obs": 20210103}
    assert unusual(early, read_history(path), Baseline()) == []
    path.write_text("{")
    with pytest.raises(DataError, match=r"line 1 of the history .*ndjson"):
        read_history(path)


def table(*rows):
    exposure, amp, test, verdict = (np.array(column) for column in zip(*rows, strict=True))
    severity = np.array(["required"] * len(rows))
    return {
        "exposure": exposure,
        "amp": amp,
        "test": test,
        "severity": severity,
        "verdict": verdict,
    }


def test_strict_and_majority():
    some = table(
        (1, "A", "NOISE", "fail"), (1, "B", "NOISE", "pass"), (1, "C", "NOISE", "pass"),
        (2, "A", "NOISE", "pass"), (2, "B", "NOISE", "pass"), (2, "C", "NOISE", "waived"),
        (3, "A", "NOISE", "fail"), (3, "B", "NOISE", "fail"), (3, "C", "NOISE", "pass"),
    )  # fmt: skip
    good, failures = accepted(some, Acceptance())
    assert not good
    assert failures == ["1 A NOISE", "3 A NOISE", "3 B NOISE"]
    # Of three exposures one fails in most amplifiers.
    assert accepted(some, Acceptance(mode="majority"))[0]
    assert not accepted(some, Acceptance(mode="majority", per_test_amps=0.3))[0]
    assert not accepted(some, Acceptance(mode="majority", exposures=0.7))[0]
    of_run = table((1, "A", "NOISE", "pass"), (-1, "A", "DRIFT", "fail"))
    assert not accepted(of_run, Acceptance(mode="majority"))[0]
