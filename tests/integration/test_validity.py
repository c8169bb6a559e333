"""`cpflow validity`: nights before and after, and the dates that follow."""

from __future__ import annotations

import numpy as np
import pytest
from commands import cpflow
from spoiled import imaging, spoil

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import bias_sequence, simulate

NIGHTS = (20210118, 20210119, 20210120, 20210121, 20210122, 20210123)
COUNT = 4


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """Biases of six nights; in the last two an amplifier has a gradient."""
    directory = tmp_path_factory.mktemp("nights")
    camera = scaled(load_instrument("latiss"), 16)
    dump_instrument(camera, directory / "instrument.yaml")
    Repo.create(directory / "repo", directory / "instrument.yaml").close()
    with Repo(directory / "repo") as opened:
        detector = opened.detector("LATISS", 0)

        def changed(arrays, detector):
            pixels = imaging(arrays, detector, "C04")
            pixels += np.linspace(-8, 8, pixels.shape[0])[:, None]

        for night in NIGHTS:
            raws = directory / str(night)
            made = simulate(raws, camera, bias_sequence(COUNT, night))
            for path in made.paths if night >= 20210122 else ():
                spoil(path, detector, changed)
            opened.ingest(raws)
        opened.plan("bias", "day_obs=20210120").run(output_run="bias")
    return directory / "repo"


def test_the_range_ends_where_the_product_begins_to_fail(repo, tmp_path):
    answer = cpflow(
        "validity", repo, "bias", "--exposures", "observation_type='bias'", "--json",
        "--plot", tmp_path / "validity.png",
    ).json  # fmt: skip
    assert [night["verdict"] for night in answer["nights"]] == ["pass"] * 4 + ["fail"] * 2
    assert [n["day_obs"] for n in answer["nights"] if n["construction"]] == [20210120]
    assert (answer["first"], answer["last"]) == (20210118, 20210121)
    assert answer["begin"] == "2021-01-18T12:00:00"
    assert answer["end"] == "2021-01-22T12:00:00"
    assert "it fails from 20210122 on: " in answer["reason_after"]
    assert "STRUCTURE" in answer["reason_after"]
    assert not answer["reason_before"]
    assert (tmp_path / "validity.png").stat().st_size > 10_000
    # What is proposed can be certified as it stands, and holds for the exposures that passed.
    cpflow(
        "certify", repo, "bias", "LATISS/calib", "bias",
        "--begin-date", answer["begin"], "--end-date", answer["end"],
    )  # fmt: skip
    with Repo(repo) as opened:
        held = {
            e.day_obs
            for e in opened.exposures("")
            if opened.find("bias", collections="LATISS/calib", exposure=e.exposure, detector=0)
        }
    assert held == {20210118, 20210119, 20210120, 20210121}


def test_a_product_without_a_range_has_exit_code_5(repo):
    with Repo(repo) as opened:
        opened.plan("bias", "day_obs=20210120").run(output_run="alone")
    done = cpflow(
        "validity", repo, "alone", "--exposures", "day_obs=20210120",
        "-c", "limits.noise.high=-0.5", code=5,
    )  # fmt: skip
    assert "proposed: nothing" in done.stdout


def test_what_cannot_be_is_refused(repo):
    done = cpflow("validity", repo, "bias", "--exposures", "day_obs=19990101", code=3)
    assert "selects none" in done.stderr
    done = cpflow("validity", repo, "bias", "--product", "dark", "--exposures", "", code=2)
    assert "can be verified" in done.stderr
