"""Comparison with what was certified before: what changed, where, by how many sigma."""

from __future__ import annotations

import numpy as np
import pytest
from altered import publish_altered
from commands import cpflow

from cpflow.errors import MissingCalibrationError
from cpflow.kernels.compare import compare_images

QUERY = "instrument='LATISS' AND detector=0"
AMP = "C04"


def test_numbers_are_those_of_plain_numpy():
    rng = np.random.default_rng(3)
    old, new = rng.normal(100, 2, (60, 50)), rng.normal(100.5, 2, (60, 50))
    new[5, 5] += 40
    masked, none = np.zeros(old.shape, bool), np.zeros(old.shape, bool)
    masked[:, 7] = True
    variance = np.full(old.shape, 8.0)
    found = compare_images(new, old, variance, masked, none)
    kept = ~masked
    difference = (new - old)[kept]
    clipped = difference[np.abs(difference - np.median(difference)) < 5 * np.sqrt(8)]
    assert found.mean == pytest.approx(clipped.mean(), abs=1e-12)
    assert found.rms == pytest.approx(clipped.std(ddof=1))
    assert found.error == pytest.approx(np.sqrt(8 / kept.sum()))
    assert found.chi2 == pytest.approx(np.mean((clipped - clipped.mean()) ** 2 / 8))
    assert (found.beyond, found.gained, found.lost) == (1, 60, 0)
    ratio = compare_images(new, old, variance, masked, none, relative=True)
    assert ratio.mean == pytest.approx(np.mean(new[kept] / old[kept] - 1), abs=1e-3)


def changes(comparison, quantity):
    return {c.amp: c for c in comparison.changes if c.quantity == quantity}


def test_two_biases_of_one_camera_do_not_differ_and_a_step_is_found(repo):
    exposures = repo.exposures(QUERY)
    repo.plan("bias", exposures[:6]).run(output_run="old")
    (ref,) = repo.plan("bias", exposures[6:]).run(output_run="new").datasets
    comparison = repo.compare("new", "old")
    assert comparison.shared == 0
    chi2 = np.array([c.new for c in changes(comparison, "chi2").values()])
    # Allowance for clipped means of six is known to some 5 %; rows have noise in common.
    assert np.mean(chi2) == pytest.approx(1, abs=0.15)
    assert sum(c.new for c in changes(comparison, "beyond 5 sigma").values()) <= 16

    def change(bias):
        box = next(a for a in repo.detector("LATISS", 0).amplifiers if a.name == AMP).detector_box
        bias["image"].values[box.rows, box.columns] += 3
        bias["image"].values[box.y0 + 4, box.x0 + 6] += 500

    publish_altered(repo, ref, "stepped", change)
    stepped = repo.compare("stepped", "old")
    means = changes(stepped, "mean")
    expected = changes(comparison, "mean")[AMP].new + 3
    assert means[AMP].new == pytest.approx(expected, abs=0.02)
    assert stepped.changes[0].amp == AMP
    assert changes(stepped, "beyond 5 sigma")[AMP].new >= 1
    others = [c.sigma for amp, c in means.items() if amp != AMP]
    assert abs(means[AMP].sigma) > 5 * max(abs(s) for s in others)


def test_what_is_certified_is_found_and_pages_are_written(repo, tmp_path):
    exposures = repo.exposures(QUERY)
    repo.plan("bias", exposures[:6]).run(output_run="old")
    with pytest.raises(MissingCalibrationError, match="no other bias is certified"):
        repo.compare("old")
    repo.certify("old", "LATISS/calib", "bias", begin="2020-01-01")
    repo.plan("bias", exposures[4:]).run(output_run="new")
    page = tmp_path / "compare.html"
    answer = cpflow("compare", repo.root, "new", "-o", page, "--json").json
    assert answer["old"]["run"] == "old"
    assert answer["shared_exposures"] == 2
    assert {c["quantity"] for c in answer["changes"]} >= {"mean", "chi2", "masked anew"}
    text = page.read_text()
    assert "data:image/png;base64" in text
    assert "http" not in text.replace("data:image", "")
    shown = cpflow("compare", repo.root, "new", "old").stdout
    assert "2 exposures are in both" in shown


def test_defects_gained_and_lost_are_counted(repo):
    exposures = repo.exposures(QUERY)
    repo.plan("bias", exposures[:6]).run(output_run="bias")
    inputs = "bias,LATISS/raw/all"
    repo.plan("defects", exposures, inputs=inputs).run(output_run="few")
    config = {"defects.edge_rows": 2}
    repo.plan("defects", exposures, inputs=inputs, config=config).run(output_run="many")
    gained = changes(repo.compare("many", "few", product="defects"), "gained")
    rows = repo.detector("LATISS", 0).shape
    assert sum(c.new for c in gained.values()) == 4 * rows[1]
    lost = changes(repo.compare("few", "many", product="defects"), "lost")
    assert sum(c.new for c in lost.values()) == 4 * rows[1]
