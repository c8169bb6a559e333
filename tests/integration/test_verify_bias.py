"""Verification of a bias: a sound one passes, each fault is found by the test that is for it."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from astropy.io import fits
from spoiled import imaging, spoil

from cpflow import Repo
from cpflow.errors import AmbiguousCalibrationError, UsageError
from cpflow.stack.geometry import to_detector_frame
from cpflow.timespan import isoformat
from cpflow.verify.summary import failure_names

QUERY = "instrument='LATISS' AND detector=0"
BUILT = 8
AMP = "C04"


def build(repo):
    """A bias of the first exposures, and all exposures."""
    exposures = repo.exposures(QUERY)
    (ref,) = repo.plan("bias", exposures[:BUILT]).run(output_run="candidate").datasets
    return exposures, ref


def verify(repo, exposures, **options):
    run = repo.plan("verify/bias", exposures, candidate="candidate", **options).run()
    return run.product.compute(), run.datasets[0].provenance["summary"]


def rows(table, test, amp=AMP):
    chosen = (table["test"].values == test) & (table["amp"].values == amp)
    return table.isel(row=np.flatnonzero(chosen))


def names(table):
    columns = {n: table[n].values for n in ("exposure", "amp", "test", "severity", "verdict")}
    return failure_names(columns)


def test_a_sound_bias_passes_every_test(repo):
    exposures, ref = build(repo)
    table, summary = verify(repo, exposures)
    assert summary["verdict"] == "pass"
    assert names(table) == [] == summary["failures"]
    assert set(summary["tests"]) >= {"MEAN", "NOISE", "CR_NOISE", "PROCESSING", "DRIFT", "SCALE"}
    assert summary["candidate"] == ref.checksum == table.attrs["candidate_checksum"]
    assert table.attrs["candidate_id"] == ref.id


def independent_residual(path, detector, product):
    """One exposure with numpy: median of each overscan row, trim, subtract, electrons."""
    out = {}
    with fits.open(path) as hdus:
        for amplifier in detector.amplifiers:
            raw = hdus[amplifier.source.hdu].data
            overscan = raw[amplifier.serial_overscan.rows, amplifier.serial_overscan.columns]
            level = reference.median_per_row(overscan)
            pixels = raw[amplifier.imaging.rows, amplifier.imaging.columns] - level[:, None]
            box = amplifier.detector_box
            bias = product[box.rows, box.columns]
            out[amplifier.name] = (to_detector_frame(amplifier, pixels) - bias) * amplifier.gain
    return out


def test_statistics_equal_those_of_numpy(repo, biases):
    exposures, _ = build(repo)
    table, _ = verify(repo, exposures)
    product = repo.get("bias", collections="candidate", instrument="LATISS", detector=0)
    detector = repo.detector("LATISS", 0)
    for i in (0, len(exposures) - 1):
        own = table.isel(row=np.flatnonzero(table["exposure"].values == exposures[i].exposure))
        residual = independent_residual(biases.paths[i], detector, product["image"].values)
        for name, pixels in residual.items():
            of_amp = own.isel(row=np.flatnonzero(own["amp"].values == name))
            value = dict(zip(of_amp["statistic"].values, of_amp["value"].values, strict=True))
            kept = np.abs(pixels - np.median(pixels)) <= 5 * pixels.std()
            assert kept.all()  # nothing to clip: the clipped statistics are the plain ones
            assert value["noise"] == pytest.approx(pixels.std(ddof=1), rel=1e-5)
            assert value["LEVEL"] == pytest.approx(pixels.mean(), abs=1e-4)
            assert value["median"] == pytest.approx(np.median(pixels), abs=1e-4)


def test_the_expected_noise_holds_for_inputs_and_for_others(repo):
    """What an exposure gave to the candidate makes its residual quieter, others louder."""
    exposures, _ = build(repo)
    table, _ = verify(repo, exposures)
    ratio = table.isel(row=np.flatnonzero(table["test"].values == "NOISE"))
    inside = np.isin(ratio["exposure"].values, [e.exposure for e in exposures[:BUILT]])
    for chosen in (inside, ~inside):
        value, error = ratio["value"].values[chosen], ratio["error"].values[chosen]
        # The candidate's stated variance is some 20 % too small: 0.2 / 8 / 2 of the noise.
        assert abs(value.mean()) < 4 * error.mean() / np.sqrt(chosen.sum()) + 0.0125
    noise = table.isel(row=np.flatnonzero(table["statistic"].values == "noise"))
    inside = np.isin(noise["exposure"].values, [e.exposure for e in exposures[:BUILT]])
    values = noise["value"].values
    assert values[~inside].mean() / values[inside].mean() == pytest.approx(
        np.sqrt((1 + 1 / BUILT) / (1 - 1 / BUILT)), rel=0.02
    )


def drifting(i):
    def change(arrays, detector):
        imaging(arrays, detector, AMP)[...] += 0.8 * i

    return change


def hot_column(i):
    def change(arrays, detector):
        imaging(arrays, detector, AMP)[:, 11] += 25 if i >= BUILT else 0

    return change


def gradient(i):
    def change(arrays, detector):
        pixels = imaging(arrays, detector, AMP)
        pixels += np.linspace(-8, 8, pixels.shape[0])[:, None] * (i >= BUILT)

    return change


def dead(i):
    def change(arrays, detector):
        if i >= BUILT:
            arrays[AMP][...] = 11500

    return change


def noisy(i):
    def change(arrays, detector):
        if i >= BUILT:
            rng = np.random.default_rng(i)
            # Rounding to whole numbers adds 1/12, which is nothing beside it.
            arrays[AMP] += rng.normal(0, 4.5, arrays[AMP].shape)

    return change


def spots(i):
    """Defects that are in the frames and not masked: no shape of a cosmic ray."""

    def change(arrays, detector):
        if i >= BUILT:
            imaging(arrays, detector, AMP)[40:46, 10:16] += 300

    return change


FAULTS = {
    "DRIFT": drifting,
    "COLUMN": hot_column,
    "STRUCTURE": gradient,
    "ALIVE": dead,
    "NOISE": noisy,
    "CR_NOISE": spots,
}


@pytest.mark.parametrize("test", FAULTS)
def test_a_fault_is_found_by_the_test_for_it(test, own_biases, tmp_path):
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as repo:
        detector = repo.detector("LATISS", 0)
        for i, path in enumerate(own_biases.paths):
            spoil(path, detector, FAULTS[test](i))
        repo.ingest(own_biases.raws)
        exposures, _ = build(repo)
        table, summary = verify(repo, exposures)
        assert summary["verdict"] == "fail"
        failed = rows(table, test)
        assert "fail" in failed["verdict"].values
        # And nothing of another amplifier.
        assert {name.split()[-2] for name in names(table)} == {AMP}
        sound = failed["exposure"].values == exposures[0].exposure
        assert "fail" not in failed["verdict"].values[sound]


def test_a_stale_candidate_is_found(own_biases, tmp_path):
    """The pattern of another amplifier, at its place: the camera has changed since."""
    root = tmp_path / "repo"
    Repo.create(root, own_biases.instrument).close()
    with Repo(root) as repo:
        detector = repo.detector("LATISS", 0)

        def pattern(sign):
            def change(arrays, detector):
                y = np.arange(imaging(arrays, detector, AMP).shape[0])[:, None]
                imaging(arrays, detector, AMP)[...] += sign * 6 * np.sin(y / 9)

            return change

        for i, path in enumerate(own_biases.paths):
            spoil(path, detector, pattern(1 if i < BUILT else -1))
        repo.ingest(own_biases.raws)
        exposures, ref = build(repo)
        table, _ = verify(repo, exposures)
        scale = rows(table, "SCALE")
        assert (scale["verdict"].values[:BUILT] == "pass").all()
        assert (scale["verdict"].values[BUILT:] == "fail").all()
        # The new pattern was subtracted and is there with the other sign: minus twice is left of
        # it, and nothing of the camera's own pattern, which the candidate holds as well.
        product = repo.open_dataset(ref)
        amplifier = next(a for a in detector.amplifiers if a.name == AMP)
        box = amplifier.detector_box
        f = to_detector_frame(amplifier, product["image"].values[box.rows, box.columns])
        f = f - f.mean()
        changed = 6 * np.sin(np.arange(f.shape[0]) / 9)[:, None]
        noise = product["variance"].values[box.rows, box.columns].sum()
        expected = -2 * np.sum(f * changed) / (np.sum(f**2) - noise)
        pulls = (scale["value"].values[BUILT:] - expected) / scale["error"].values[BUILT:]
        assert np.abs(pulls).max() < 4
        assert scale["error"].values.max() < 0.1


def test_thresholds_come_from_configuration_and_may_differ_by_amplifier(repo):
    exposures, _ = build(repo)
    override = {"test": "NOISE", "amp": AMP, "high": -0.5}
    table, summary = verify(repo, exposures, config={"limits.overrides": [override]})
    assert set(summary["failed_tests"]) == {"NOISE"}
    assert {name.split()[-2] for name in names(table)} == {AMP}
    with pytest.raises(UsageError, match=r"NOSE.*tests are"):
        verify(repo, exposures, config={"limits.overrides": [{"test": "NOSE"}]})


def test_the_candidate_is_one_and_named(repo):
    exposures, _ = build(repo)
    with pytest.raises(UsageError, match="verifies nothing"):
        repo.plan("bias", exposures, candidate="candidate")
    repo.plan("bias", exposures[BUILT:]).run(output_run="other")
    span = {"begin": "2000-01-01", "end": "2021-01-21T12:00:00"}
    middle = exposures[BUILT].timespan.begin
    assert middle is not None
    repo.certify("candidate", "LATISS/calib", "bias", begin=span["begin"], end=isoformat(middle))
    repo.certify("other", "LATISS/calib", "bias", begin=isoformat(middle))
    with pytest.raises(AmbiguousCalibrationError, match="a verification is of one bias"):
        repo.plan("verify/bias", exposures, inputs="LATISS/calib,LATISS/raw/all")
