"""Verification of defects, and the page's flow: a bias fails on unmasked defects, then passes."""

from __future__ import annotations

import numpy as np
import pytest
from spoiled import imaging, spoil

from cpflow import Repo

QUERY = "instrument='LATISS' AND detector=0"
AMP = "C12"
HOT = ((20, 7), (33, 15), (60, 2))
COLUMN = 21


def spoilt(i):
    def change(arrays, detector):
        pixels = imaging(arrays, detector, AMP)
        for y, x in HOT:
            pixels[y, x] += 900
        pixels[:, COLUMN] += 60

    return change


@pytest.fixture
def repo_with_defects(own_biases, tmp_path):
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as repo:
        detector = repo.detector("LATISS", 0)
        # The candidate bias is from sound frames: what appeared since is not subtracted.
        for i, path in enumerate(own_biases.paths):
            if i >= 4:
                spoil(path, detector, spoilt(i))
        repo.ingest(own_biases.raws)
        repo.plan("bias", repo.exposures(QUERY)[:4]).run(output_run="bias")
        yield repo


def verify(repo, kind, inputs, exposures):
    run = repo.plan(f"verify/{kind}", exposures, inputs=f"{inputs},LATISS/raw/all").run()
    return run.product.compute(), run.datasets[0].provenance["summary"]


def test_a_bias_fails_on_unmasked_defects_and_passes_when_they_are_masked(repo_with_defects):
    repo = repo_with_defects
    exposures = repo.exposures(QUERY)[4:]
    _, before = verify(repo, "bias", "bias", exposures)
    assert before["verdict"] == "fail"
    assert {"CR_NOISE", "COLUMN"} <= set(before["failed_tests"])
    assert {name.split()[-2] for name in before["failures"]} == {AMP}
    repo.plan("defects", exposures, inputs="bias,LATISS/raw/all").run(output_run="defects")
    _, after = verify(repo, "bias", "defects,bias", exposures)
    assert after["verdict"] == "pass"


def test_sound_defects_pass_and_incomplete_ones_do_not(repo_with_defects):
    repo = repo_with_defects
    exposures = repo.exposures(QUERY)[4:]
    repo.plan("defects", exposures, inputs="bias,LATISS/raw/all").run(output_run="defects")
    table, summary = verify(repo, "defects", "defects,bias", exposures)
    assert summary["verdict"] == "pass"
    rows = np.flatnonzero(table["statistic"].values == "masked_pixels")
    masked = dict(zip(table["amp"].values[rows], table["value"].values[rows], strict=True))
    height = repo.detector("LATISS", 0).imaging_shape[0]
    # Three pixels and a column, which the hot pixels are not in.
    assert masked.pop(AMP) == len(HOT) + height
    assert set(masked.values()) == {0}
    # A list that knows nothing: made from the sound frames.
    sound = repo.exposures(QUERY)[:4]
    repo.plan("defects", sound, inputs="bias,LATISS/raw/all").run(output_run="none")
    table, summary = verify(repo, "defects", "none,bias", exposures)
    assert summary["failed_tests"].keys() == {"COLUMN", "PERSISTENT"}
    found = table.isel(row=np.flatnonzero(table["statistic"].values == "persistent_pixels"))
    of_amp = dict(zip(found["amp"].values, found["value"].values, strict=True))
    # The column is fainter than eight sigma, so that it is for the other test.
    assert of_amp.pop(AMP) >= len(HOT)
    assert set(of_amp.values()) == {0}


def test_masking_too_much_is_told(repo_with_defects, tmp_path):
    repo = repo_with_defects
    exposures = repo.exposures(QUERY)[4:]
    config = {"defects.border_rows": 0, "defects.edge_rows": 12, "defects.edge_columns": 20}
    repo.plan("defects", exposures, inputs="bias,LATISS/raw/all", config=config).run(
        output_run="wide"
    )
    table, summary = verify(repo, "defects", "wide,bias", exposures)
    assert "MASKED" in summary["failed_tests"]
    detector = repo.detector("LATISS", 0)
    whole = (table["test"].values == "MASKED") & (table["amp"].values == "")
    edges = np.zeros(detector.shape, bool)
    edges[:12] = edges[-12:] = edges[:, :20] = edges[:, -20:] = True
    masked = float(table["value"].values[whole].item())
    assert masked == pytest.approx(edges.mean(), rel=0.02)
