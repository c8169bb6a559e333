"""Verification of photon transfer curve, gain, linearity, kernel, fringe and sky frames."""

from __future__ import annotations

import numpy as np
import pytest
from altered import publish_altered

from cpflow import Repo
from cpflow.io.instrument import dump_instrument, load_instrument, scaled
from cpflow.simulate import Sequence, load_sequence, simulate
from cpflow.verify import FlatPairs, GainLimits, KernelLimits
from cpflow.verify.bfk import JudgeKernel
from cpflow.verify.gain import JudgeGain, Pair
from cpflow.verify.linearity import straight
from cpflow.verify.sky import about_a_plane
from cpflow.verify.summary import failure_names

pytestmark = pytest.mark.slow
RAW = "LATISS/raw/all"
USE = f"dark,bias,{RAW}"
AMP = "C04"
PTC = "observation_reason='ptc'"
FRINGE = "day_obs=20210322 AND observation_type='science'"
SKY = "day_obs=20210323 AND observation_type='science'"


@pytest.fixture(scope="module")
def repo(tmp_path_factory):
    """The page's flat pairs, fringes and skies at an eighth of the size, with what they need."""
    here = tmp_path_factory.mktemp("curves")
    camera = scaled(load_instrument("latiss"), 8)
    page = load_sequence("latiss-2021")
    wanted = {
        *page.lists["ptc"], *page.lists["bias"][:12], *page.lists["dark"][:12],
        *page.lists["flat_rg610"][:8], *page.lists["fringe"][:4], *page.lists["sky"][:12],
    }  # fmt: skip
    few = Sequence(tuple(o for o in page if o.id in wanted), page.truth)
    simulate(here / "raws", camera, few)
    dump_instrument(camera, here / "instrument.yaml")
    Repo.create(here / "repo", here / "instrument.yaml").close()
    with Repo(here / "repo") as opened:
        assert not opened.ingest(here / "raws").refused
        opened.plan("bias", "", inputs=RAW).run(output_run="bias")
        opened.plan("dark", "", inputs=f"bias,{RAW}").run(output_run="dark")
        opened.plan("ptc", PTC, inputs=USE).run(output_run="ptc")
        opened.plan("linearity", PTC, inputs=f"ptc,{USE}").run(output_run="linearity")
        opened.plan("flat", "physical_filter='RG610~empty'", inputs=USE).run(output_run="flat")
        opened.plan("fringe", FRINGE, inputs=f"flat,{USE}").run(output_run="fringe")
        opened.plan("sky", SKY, inputs=f"flat,{USE}").run(output_run="sky")
        yield opened


def verify(repo, graph, query, candidate, **config):
    run = repo.plan(
        f"verify/{graph}", query, inputs=f"flat,{USE}", candidate=candidate, config=config
    ).run()
    return run.product.compute(), run.datasets[0].provenance["summary"]


def names(table):
    columns = {n: table[n].values for n in ("exposure", "amp", "test", "severity", "verdict")}
    return failure_names(columns)


SOUND = {
    "ptc": (PTC, "ptc"),
    "gain": (PTC, "ptc"),
    "linearity": (PTC, "linearity"),
    "fringe": (FRINGE, "fringe"),
    "sky": (SKY, "sky"),
}


@pytest.mark.parametrize("graph", SOUND)
def test_a_sound_one_passes_every_test(repo, graph):
    table, summary = verify(repo, graph, *SOUND[graph])
    assert names(table) == []
    assert summary["verdict"] == "pass"


def ref_of(repo, kind, run):
    (ref,) = repo.registry.datasets(kind, collections=[run])
    return ref


def test_a_wrong_gain_is_found(repo):
    def change(ptc):
        a = list(ptc["amp"].values).index(AMP)
        ptc["gain"].values[a] *= 1.12

    publish_altered(repo, ref_of(repo, "ptc", "ptc"), "wrong_gain", change)
    for graph in ("ptc", "gain"):
        table, summary = verify(repo, graph, PTC, "wrong_gain")
        assert "GAIN" in summary["failed_tests"]
        assert {name.split()[0] for name in names(table)} == {AMP}


def test_a_dead_amplifier_has_no_data_and_does_not_pass(repo):
    def change(ptc):
        a = list(ptc["amp"].values).index(AMP)
        for name in ("gain", "gain_error", "noise", "noise_error", "turnoff", "a", "a_error"):
            ptc[name].values[a] = np.nan

    publish_altered(repo, ref_of(repo, "ptc", "ptc"), "dead", change)
    table, summary = verify(repo, "ptc", PTC, "dead")
    assert summary["verdict"] == "no_data"
    without = {str(amp) for amp in table["amp"].values[table["verdict"].values == "no_data"]}
    assert without == {AMP}


def test_swapped_gains_are_found(repo):
    """Two amplifiers whose gains differ by 5 % get each other's; the limit is for that."""
    gains = repo.open_dataset(ref_of(repo, "ptc", "ptc"))["gain"].values
    low, high = int(np.argmin(gains)), int(np.argmax(gains))
    assert gains[high] / gains[low] > 1.05

    def change(ptc):
        ptc["gain"].values[[low, high]] = gains[[high, low]]

    publish_altered(repo, ref_of(repo, "ptc", "ptc"), "swapped", change)
    limits = {"limits.gain.low": -0.03, "limits.gain.high": 0.03, "limits.gain.sigma": 3.0}
    table, _ = verify(repo, "gain", PTC, "swapped", **limits)
    swapped = {repo.detector("LATISS", 0).amplifier_names[a] for a in (low, high)}
    failed = {name.split()[0] for name in names(table) if name.endswith(" GAIN")}
    assert failed == swapped


def test_a_nonlinear_amplifier_is_found(repo):
    """A linearizer that bends one amplifier instead of straightening it."""
    ref = ref_of(repo, "linearizer", "linearity")
    product = repo.open_dataset(ref)
    a = list(product["amp"].values).index(AMP)

    def change(linearizer):
        # Squared, the third kind: a tenth is bent at 100,000 adu.
        linearizer["coefficients"].values[a] = np.nan
        linearizer["coefficients"].values[a, 0] = 1e-6
        linearizer["kind"].values[a] = 2

    publish_altered(repo, ref, "nonlinear", change)
    table, summary = verify(repo, "linearity", PTC, "nonlinear")
    assert "RESIDUAL" in summary["failed_tests"]
    assert {name.split()[0] for name in names(table)} == {AMP}


def test_a_fringe_frame_of_another_pattern_is_found(repo):
    def change(fringe):
        fringe["image"].values[...] = fringe["image"].values[:, ::-1]

    publish_altered(repo, ref_of(repo, "fringe", "fringe"), "mirrored", change)
    table, summary = verify(repo, "fringe", FRINGE, "mirrored")
    # Hardly anything of it is there to subtract: it takes no noise away.
    rows = table["test"].values == "NOISE"
    assert summary["verdict"] != "pass" or np.median(table["value"].values[rows]) > -0.02


def test_a_sky_frame_of_the_wrong_sign_is_found(repo):
    def change(sky):
        sky["sky"].values[...] = -3 * sky["sky"].values

    publish_altered(repo, ref_of(repo, "sky", "sky"), "negative", change)
    _, summary = verify(repo, "sky", SKY, "negative")
    assert "IMPROVES" in summary["failed_tests"]


# -- numbers against plain numpy, and sound runs without alarms ----------------------------------


def test_the_gain_of_pairs_is_mean_over_variance(repo):
    detector = repo.detector("LATISS", 0)
    count = len(detector.amplifiers)
    rng = np.random.default_rng(3)
    gain, a00, pixels = 1.2, -2e-6, 16_000
    alarms, pulls = 0, []
    judge = JudgeGain(GainLimits(), FlatPairs(), detector)
    nominal = np.array([a.read_noise for a in detector.amplifiers])
    for _ in range(100):
        pairs = []
        for mean in (3000.0, 8000.0, 15_000.0, 25_000.0):
            variance = mean / gain + a00 * mean**2 + (nominal / gain) ** 2
            measured = variance * (1 + rng.normal(0, np.sqrt(2 / pixels), count))
            overscan = nominal / gain * (1 + rng.normal(0, 0.005, count))
            pairs.append(
                Pair(
                    np.full(count, mean),
                    measured,
                    np.full(count, pixels),
                    overscan,
                    np.zeros(count),
                )
            )
        rows = judge.rows(pairs, np.full(count, gain), np.full(count, a00)).table()
        alarms += bool((rows["verdict"] == "fail").any())
        chosen = rows["test"] == "GAIN"
        pulls.append(rows["value"][chosen] / rows["error"][chosen])
    assert alarms == 0
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert abs(np.mean(pulls)) < 0.2


def test_deviations_from_a_straight_line_are_those_of_numpy():
    times = np.array([1, 2, 4, 8, 16, 32, 64.0])
    signal = 500 * times + 20
    bent = signal * (1 + 0.02 * (signal > 20_000))
    assert np.nanmax(np.abs(straight(times, signal, signal > 0, 4))) < 1e-9
    found = straight(times, bent, bent > 0, 4)
    design = np.column_stack([times, np.ones(7)]) / bent[:, None]
    slope, offset = np.linalg.lstsq(design, np.ones(7), rcond=None)[0]
    np.testing.assert_allclose(found, bent / (slope * times + offset) - 1, rtol=1e-6, atol=1e-9)
    assert np.isnan(straight(times, signal, signal > 15_000, 4)).all()


def test_the_scatter_about_a_plane_forgets_level_and_slope():
    rng = np.random.default_rng(4)
    y, x = np.indices((8, 8))
    noise = rng.normal(0, 2, (8, 8))
    assert about_a_plane(100 + 3 * x - 2 * y + noise) == pytest.approx(about_a_plane(noise))
    assert about_a_plane(noise) == pytest.approx(2, rel=0.3)
    assert about_a_plane(100.0 + 3.0 * x) == pytest.approx(0, abs=1e-9)


def kernel(side=8):
    y, x = np.indices((2 * side + 1, 2 * side + 1)) - side
    return -1e-7 / (1 + x**2 + y**2) ** 1.5


def bfk(detector, valid=True, centre=1.0):
    import xarray as xr

    whole = kernel()
    amps = np.stack([whole * centre] * len(detector.amplifiers))
    return xr.Dataset(
        {
            "detector_kernel": (("kernel_x", "kernel_y"), whole),
            "detector_valid": ((), np.bool_(valid)),
            "kernel": (("amp", "kernel_x", "kernel_y"), amps),
            "valid": (("amp",), np.full(len(amps), valid)),
        }
    )


def test_a_kernel_is_inspected(repo):
    detector = repo.detector("LATISS", 0)
    judge = JudgeKernel(KernelLimits(), detector)
    assert (judge.rows(bfk(detector)).table()["verdict"] != "fail").all()
    table = judge.rows(bfk(detector, valid=False)).table()
    assert set(table["test"][table["verdict"] == "fail"]) == {"VALID"}
    table = judge.rows(bfk(detector, centre=1.5)).table()
    assert set(table["test"][table["verdict"] == "fail"]) == {"CENTRE"}
    lopsided = bfk(detector)
    lopsided["detector_kernel"].values[0, 3] = -3e-7
    table = judge.rows(lopsided).table()
    whole = table["amp"] == ""
    assert set(table["test"][whole & (table["verdict"] == "fail")]) == {
        "EXTREMUM", "SYMMETRY", "BOUNDARY",
    }  # fmt: skip
