"""All corrections of the electronics, brighter-fatter and vignetting, against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import cpflow
from cpflow import Isr, Repo
from cpflow.io.instrument import Instrument, dump_instrument, load_instrument, scaled
from cpflow.kernels.planes import NO_DATA, VIGNETTED
from cpflow.products import LINEARITY_KINDS, product_spec
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, dark_sequence, simulate
from cpflow.simulate.brighter_fatter import BrighterFatter
from cpflow.simulate.crosstalk import Crosstalk
from cpflow.simulate.dark import Dark
from cpflow.simulate.flatfield import FlatField
from cpflow.simulate.nonlinearity import Nonlinearity
from cpflow.simulate.stars import StarField

LIGHT = {"dark": Dark(), "flat": FlatField(lamp_scatter=0.1)}
ELECTRONICS = {"crosstalk": Crosstalk(quadratic=2e-9), "nonlinearity": Nonlinearity()}


def exposed(directory, camera, truth, observations):
    """Simulate into a new directory and ingest; return the repository and the detector's truth."""
    written = simulate(directory / "raws", camera, Sequence(observations, truth=truth), truth=truth)
    dump_instrument(camera, directory / "raws" / "instrument.yaml")
    Repo.create(directory / "repo", directory / "raws" / "instrument.yaml").close()
    repo = Repo(directory / "repo")
    assert not repo.ingest(directory / "raws").refused
    return repo, written.open_truth()


def image(values, units):
    """A calibration without errors."""
    values = np.asarray(values, np.float32)
    return xr.Dataset(
        {
            "image": (("y", "x"), values, {"units": units}),
            "variance": (("y", "x"), np.zeros_like(values)),
        }
    )


def gain_map(detector):
    gains = np.empty(detector.shape)
    for amplifier in detector:
        gains[amplifier.detector_box.rows, amplifier.detector_box.columns] = amplifier.gain
    return gains


def calibrations(truth, detector):
    """Products as the truth has them, with the variables that their specifications ask for."""
    drawn = truth["detectors/0"].to_dataset()
    made = {"bias": image(drawn["bias_pattern"].values, "adu")}
    if "dark_rate" in drawn:
        made["dark"] = image(drawn["dark_rate"].values / gain_map(detector), "adu/s")
        made["flat"] = image(drawn["response"].values * drawn["illumination"].values, "1")
    if "crosstalk" in drawn:
        pairs = ("source_amp", "target_amp")
        c = drawn["crosstalk"].values
        made["crosstalk"] = xr.Dataset(
            {
                "coefficients": (pairs, c, {"units": "adu/adu"}),
                "errors": (pairs, np.zeros_like(c), {"units": "adu/adu"}),
                "valid": (pairs, c != 0, {"units": "1"}),
                "quadratic": (pairs, drawn["crosstalk_quadratic"].values, {"units": "1/adu"}),
            }
        )
        product_spec("crosstalk").check(made["crosstalk"])
    if "nonlinearity_squared" in drawn:
        c0 = drawn["nonlinearity_squared"].values
        kind = np.full(len(c0), LINEARITY_KINDS.index("squared"), np.int8)
        made["linearizer"] = xr.Dataset(
            {
                "kind": ("amp", kind, {"units": "1"}),
                # Other amplifiers of such a product may have more coefficients.
                "coefficients": (
                    ("amp", "coefficient"), np.stack([c0, np.full_like(c0, np.nan)], axis=1),
                ),
            }
        )  # fmt: skip
        product_spec("linearizer").check(made["linearizer"])
    return made


def corrected(repo, given, options, plane="image"):
    """Return all exposures in the detector frame, after ISR."""
    detector = repo.detector("LATISS", 0)
    stack = cpflow.open_stack(detector, repo.select(""), root=str(repo.root))
    frames = cpflow.isr(stack, given, options).frames()[[plane]]
    return cpflow.assemble(frames, detector)[plane].values


@pytest.fixture(scope="module")
def electronics(tmp_path_factory):
    """The same light read by two cameras: with all effects of the electronics, and with none."""
    camera = scaled(load_instrument("latiss"), 16)
    flats = tuple(
        Observation(
            day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=3000.0,
            filter="r", target="flat",
        )
        for i in range(4)
    )  # fmt: skip
    pair = {}
    for name, effects in (("with", ELECTRONICS), ("without", {})):
        here = tmp_path_factory.mktemp(f"electronics-{name}")
        pair[name] = exposed(here, camera, Truth(**LIGHT, **effects), flats)
    yield pair
    for repo, _ in pair.values():
        repo.close()


FULL = Isr(bias=True, dark=True, flat=True)


@pytest.mark.parametrize("gain", ["none", "camera"])
def test_what_the_electronics_did_is_undone_to_the_last_count(electronics, gain):
    repo, truth = electronics["with"]
    bare, bare_truth = electronics["without"]
    detector = repo.detector("LATISS", 0)
    options = FULL.model_copy(update={"gain": gain})
    given = calibrations(truth, detector)
    found = corrected(repo, given, options)
    expected = corrected(bare, calibrations(bare_truth, detector), options)
    # Back to adu above the bias level.
    response = given["flat"]["image"].values
    unit = gain_map(detector) if gain == "camera" else 1.0
    difference = (found - expected).astype(np.float64) * response / unit
    level = expected.astype(np.float64) * response / unit
    drawn = truth["detectors/0"].to_dataset()
    c, q = drawn["crosstalk"].values, drawn["crosstalk_quadratic"].values
    first = level.max() * np.abs(c).sum(axis=0) + level.max() ** 2 * np.abs(q).sum(axis=0)
    for a, amplifier in enumerate(detector):
        box = amplifier.detector_box
        part = difference[:, box.rows, box.columns]
        signal = np.sqrt(np.mean(level[:, box.rows, box.columns] ** 2))
        c0 = drawn["nonlinearity_squared"].values[a]
        noise = amplifier.read_noise / amplifier.gain
        # Both were rounded to whole counts, and the read noise came after the nonlinearity: the
        # correction stretches it.
        sigma = np.sqrt(2 / 12 + (2 * c0 * signal * noise) ** 2)
        n = part.size
        assert part.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))
        # Ghosts are taken of sources that have ghosts themselves; c0 makes a mean of the noise.
        slope = np.abs(c[:, a]) + 2 * level.max() * np.abs(q[:, a])
        second = slope.sum() * first.max() + c0 * noise**2
        assert abs(part.mean()) < 5 * sigma / np.sqrt(n) + second
        assert second < 0.05


@pytest.mark.parametrize("name", ["crosstalk", "linearize"])
def test_each_correction_is_needed(electronics, name):
    """What is compared above would see either missing."""
    repo, truth = electronics["with"]
    bare, bare_truth = electronics["without"]
    detector = repo.detector("LATISS", 0)
    options = FULL.model_copy(update={name: False})
    found = corrected(repo, calibrations(truth, detector), options)
    expected = corrected(bare, calibrations(bare_truth, detector), FULL)
    assert np.abs((found - expected).mean()) > 5


def test_the_variance_is_that_of_the_exposures_without_the_effects(electronics):
    repo, truth = electronics["with"]
    bare, bare_truth = electronics["without"]
    detector = repo.detector("LATISS", 0)
    options = FULL.model_copy(update={"gain": "camera"})
    found = corrected(repo, calibrations(truth, detector), options, "variance")
    expected = corrected(bare, calibrations(bare_truth, detector), options, "variance")
    # Predicted from counts that are not linear yet (spec 2.11): 2e-7 of 30,000, scattered by 0.2.
    np.testing.assert_allclose(found, expected, rtol=0.015)


# Electrons.
SKY = 30.0
STARS = StarField(density=400.0, flux=(5e5, 5.0001e5), sigma=2.0, dither=30.0)


@pytest.fixture(scope="module")
def stars(tmp_path_factory):
    """A field of bright stars, all alike, with the brighter-fatter effect and without it."""
    camera = scaled(load_instrument("latiss"), 8)
    science = tuple(
        Observation(
            day_obs=20210122, seq_num=1 + i, type="science", exposure_time=3.0, sky=SKY / 3,
            filter="r", target="field", stars=STARS,
        )
        for i in range(4)
    )  # fmt: skip
    pair = {}
    for name, effects in (("with", {"brighter_fatter": BrighterFatter(b=0.0)}), ("without", {})):
        here = tmp_path_factory.mktemp(f"stars-{name}")
        pair[name] = exposed(here, camera, Truth(**effects), science)
    yield pair
    for repo, _ in pair.values():
        repo.close()


def moments(images, catalogue, exposures):
    """Mean second moments along x and y of the stars that stand alone, and their number."""
    reach, found = 9, []
    for pixels, exposure in zip(images, exposures, strict=True):
        mine = catalogue["exposure"].values == exposure
        ys, xs = catalogue["y"].values[mine], catalogue["x"].values[mine]
        for y, x in zip(ys, xs, strict=True):
            others = np.hypot(ys - y, xs - x)
            inside = reach + 12 < min(y, x, pixels.shape[0] - y, pixels.shape[1] - x)
            if np.count_nonzero(others < 2.6 * reach) > 1 or not inside:
                continue
            v, u = round(y), round(x)
            part = pixels[v - reach : v + reach + 1, u - reach : u + reach + 1] - SKY
            dy = np.arange(-reach, reach + 1) + v - y
            dx = np.arange(-reach, reach + 1) + u - x
            total = part.sum()
            found.append(((part * dx**2).sum() / total, (part * dy[:, None] ** 2).sum() / total))
    return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(len(found)), len(found)


@pytest.mark.parametrize("method", ["flux_conserving", "coulton"])
def test_bright_stars_are_as_sharp_as_without_brighter_fatter(stars, method):
    repo, truth = stars["with"]
    bare, bare_truth = stars["without"]
    detector = repo.detector("LATISS", 0)
    exposures = [e.exposure for e, _ in sorted(repo.select(""), key=lambda p: p[0].exposure)]
    catalogue = truth["stars/0"].to_dataset()
    given = calibrations(truth, detector)
    in_y_x = truth["detectors/0"]["bf_kernel"].values
    axes = ("kernel_x", "kernel_y")
    given["bfk"] = xr.Dataset({"detector_kernel": (axes, in_y_x.T, {"units": "1/electron"})})
    options = Isr(bias=True, gain="camera", brighter_fatter_method=method)
    on = options.model_copy(update={"brighter_fatter": True})
    plain = corrected(bare, calibrations(bare_truth, detector), options)
    expected, error, count = moments(plain, bare_truth["stars/0"].to_dataset(), exposures)
    assert count > 60
    np.testing.assert_allclose(expected, 4 + 1 / 12, atol=5 * error.max())
    before, _, _ = moments(corrected(repo, given, options), catalogue, exposures)
    after, error_after, _ = moments(corrected(repo, given, on), catalogue, exposures)
    noise = np.hypot(error, error_after) / expected
    assert (before / expected > 1.01).all(), "the effect is there"
    assert (np.abs(after / expected - 1) < 0.005).all()
    assert (5 * noise < 0.005).all(), "the stars tell"
    # The kernel is not symmetric: turned the wrong way one axis gets too little, one too much.
    given["bfk"] = xr.Dataset({"detector_kernel": (axes, in_y_x, {"units": "1/electron"})})
    wrong, _, _ = moments(corrected(repo, given, on), catalogue, exposures)
    turned, right = (np.abs(np.diff(m / expected)[0]) for m in (wrong, after))
    assert turned > 2 * right


RADIUS, COUNT = 3.9, 10


@pytest.fixture(scope="module")
def vignetted(tmp_path_factory):
    """Flats of a camera whose last detector is partly behind the vignetting."""
    here = tmp_path_factory.mktemp("vignetted")
    quad = load_instrument("quad")
    definition = dict(quad.definition)
    definition["detectors"] = [
        {**d, "centre_mm": [2.4, 2.0]} if d["id"] == 3 else d for d in definition["detectors"]
    ]
    camera = Instrument.from_definition(definition, quad.source)
    # So many sides that it is a circle, as closely as pixels tell.
    light = FlatField(
        detector_scatter=0.1, lamp_scatter=0.1, donuts=0, vignette_radius=RADIUS,
        vignette_sides=10_000,
    )  # fmt: skip
    truth = Truth(flat=light)
    flats = Sequence(
        tuple(
            Observation(
                day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=3000.0,
                filter="r", target="flat",
            )
            for i in range(COUNT)
        ),
        truth=truth,
    )  # fmt: skip
    for sequence in (bias_sequence(12, truth=truth), dark_sequence(6, truth=truth), flats):
        written = simulate(here / "raws", camera, sequence, truth=truth)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    inputs = ("QUAD/raw/all", "u/test/darkGen", "u/test/biasGen")
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        repo.plan("bias", "observation_type='bias'").run(output="u/test/biasGen")
        repo.plan("dark", "observation_type='dark'", inputs=("QUAD/raw/all", "u/test/biasGen")).run(
            output="u/test/darkGen"
        )
        config = {"isr.vignette.enabled": True, "isr.vignette.radius": RADIUS}
        run = repo.plan("flat", "observation_type='flat'", inputs=inputs, config=config).run(
            output="u/test/flatGen"
        )
        products = {ref.data_id.detector: repo.open_dataset(ref).load() for ref in run.datasets}
        yield repo, written.open_truth(), products


def outside(detector):
    """Pixels whose centre lies outside the circle."""
    rows, columns = (np.arange(n) for n in detector.shape)
    x = (columns - detector.reference_pixel[0]) * 0.015 + detector.centre_mm[0]
    y = (rows - detector.reference_pixel[1]) * 0.015 + detector.centre_mm[1]
    return np.hypot(x[None, :], y[:, None]) > RADIUS


def response(vignetted, detector):
    """Adu per photon in the middle: gains stay in a flat in adu."""
    drawn = vignetted[1][f"detectors/{detector.id}"]
    light = drawn["response"].values.astype(np.float64) * drawn["illumination"].values
    return light / gain_map(detector)


def test_a_vignetted_flat_says_where_there_is_no_light(vignetted):
    repo, _, products = vignetted
    for number, product in products.items():
        dark = outside(repo.detector("QUAD", number))
        assert dark.any() == (number == 3)
        assert 0.1 < dark.mean() < 0.9 or number != 3
        np.testing.assert_array_equal(
            product["mask"].values, np.where(dark, NO_DATA | VIGNETTED, 0)
        )
        assert (product["image"].values[dark] == 0).all()
        assert (product["variance"].values[dark] == 0).all()
        assert (product["n_used"].values[dark] == 0).all()
        assert (product["image"].values[~dark] > 0.3).all()
        assert product.attrs["n_filled"] == 0


def test_levels_leave_the_dark_part_out(vignetted):
    """Response of detectors relative to each other, and of exposures, to a thousandth."""
    repo, truth, products = vignetted
    ratios = []
    for number, product in products.items():
        detector = repo.detector("QUAD", number)
        lit = ~outside(detector)
        ratio = product["image"].values[lit] / response(vignetted, detector)[lit]
        ratios.append(ratio.mean())
        scales = product["scale"].values
        for amplifier in detector:
            box = amplifier.detector_box
            here = lit[box.rows, box.columns]
            part = product["image"].values[box.rows, box.columns][here]
            true = response(vignetted, detector)[box.rows, box.columns][here]
            level = scales * part.mean()
            noise = np.sqrt(
                np.mean(1 / level) / amplifier.gain / COUNT
                + (amplifier.read_noise / amplifier.gain) ** 2
                * (1 / COUNT + 1 / 12)
                / np.mean(level) ** 2
            )
            # 1000 pixels or more: 2.2 %; clipping ten values costs a few percent.
            assert np.std(part / true) / np.mean(part / true) == pytest.approx(noise, rel=0.12)
    assert np.ptp(ratios) / np.mean(ratios) < 1e-3
    lamp = truth["exposures/0"].to_dataset()["lamp"]
    for product in products.values():
        ratio = product["scale"].values / lamp.sel(exposure=product["exposure"].values).values
        assert np.std(ratio) / np.mean(ratio) < 1e-3


def test_percentiles_and_bins_leave_the_dark_part_out(vignetted):
    repo, _, products = vignetted
    detector, product = repo.detector("QUAD", 3), products[3]
    dark = outside(detector)
    for a, amplifier in enumerate(detector):
        box = amplifier.detector_box
        lit = ~dark[box.rows, box.columns]
        pixels = product["image"].values[box.rows, box.columns][lit]
        levels = product["percentile"].values
        np.testing.assert_allclose(
            product["distribution"].values[a], np.percentile(pixels, levels), rtol=1e-6
        )
        assert product["n_bad"].values[a] == np.count_nonzero(~lit)
    binned = product["image_bin8"].values
    blocks = dark.reshape(16, 8, 20, 8).all(axis=(1, 3))
    np.testing.assert_array_equal(np.isnan(binned), blocks)
    assert np.nanmin(binned) > 0.3


def test_dividing_by_such_a_flat_leaves_nothing_and_knows_it(vignetted):
    repo, _, products = vignetted
    detector = repo.detector("QUAD", 3)
    dark = outside(detector)
    raws = repo.select("observation_type='flat' AND detector=3")[:2]
    stack = cpflow.open_stack(detector, raws, root=str(repo.root))
    options = Isr(flat=True, interpolate=False)
    frames = cpflow.assemble(
        cpflow.isr(stack, {"flat": products[3]}, options).frames(), detector
    ).load()
    for i in range(2):
        assert (frames["image"].values[i][dark] == 0).all()
        assert (frames["variance"].values[i][dark] == 1e10).all()
        assert np.isfinite(frames["image"].values[i]).all()
        assert (frames["variance"].values[i][~dark] < 1e6).all()
        np.testing.assert_array_equal(
            frames["mask"].values[i], np.where(dark, NO_DATA | VIGNETTED, 0)
        )
