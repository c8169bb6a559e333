"""Calibrations that change within a stack, and measurements that are made only once."""

from __future__ import annotations

from collections import Counter

import dask
import numpy as np
import pytest
import xarray as xr
from dask.callbacks import Callback

from cpflow import Combine, Isr, assemble, combine, isr, open_stack
from cpflow.io.instrument import load_instrument, scaled
from cpflow.simulate import Observation, Sequence, Truth, bias_sequence, simulate
from cpflow.simulate.flatfield import FlatField
from cpflow.stack.choice import Choice, chosen, each
from cpflow.stack.frame import Planes

COUNT = 6
TRUTH = Truth(flat=FlatField(lamp_scatter=0.1))


@pytest.fixture(scope="module")
def raws(tmp_path_factory):
    """Six biases and six flats of a small camera, ingested."""
    from cpflow import Repo
    from cpflow.io.instrument import dump_instrument

    here = tmp_path_factory.mktemp("choice")
    camera = scaled(load_instrument("latiss"), 32)
    flats = tuple(
        Observation(
            day_obs=20210122, seq_num=1 + i, type="flat", exposure_time=10.0, lamp=2500.0,
            filter="r", target="flat",
        )
        for i in range(COUNT)
    )  # fmt: skip
    for sequence in (bias_sequence(COUNT, truth=TRUTH), Sequence(flats, truth=TRUTH)):
        simulate(here / "raws", camera, sequence, truth=TRUTH)
    dump_instrument(camera, here / "raws" / "instrument.yaml")
    Repo.create(here / "repo", here / "raws" / "instrument.yaml").close()
    with Repo(here / "repo") as repo:
        assert not repo.ingest(here / "raws").refused
        yield repo


def stack_of(raws, kind, **changes):
    return open_stack(
        raws.detector("LATISS", 0),
        raws.select(f"observation_type='{kind}'"),
        root=str(raws.root),
        band_rows=50,
        **changes,
    )


def image_calibration(detector, seed, units="adu", base=0.0):
    rng = np.random.default_rng(seed)
    image = (base + rng.normal(0, 20, detector.shape)).astype(np.float32)
    variance = np.full(detector.shape, 4.0, np.float32)
    return xr.Dataset(
        {"image": (("y", "x"), image, {"units": units}), "variance": (("y", "x"), variance)}
    )


def test_a_choice_maps_its_values_and_keeps_who_takes_which():
    choice = Choice(("a", "b"), (0, 1, -1, 0))
    assert each(choice, str.upper) == Choice(("A", "B"), (0, 1, -1, 0))
    assert each("a", str.upper) == "A"
    assert choice.each(len) == Choice((1, 1), (0, 1, -1, 0))


def test_each_exposure_has_its_own():
    shared = {"bias": Choice(("old", "new"), (0, 1, -1)), "gain": 2}
    assert chosen(shared, 0) == {"bias": "old", "gain": 2}
    assert chosen(shared, 1) == {"bias": "new", "gain": 2}
    assert chosen(shared, 2) == {"gain": 2}
    plain = {"gain": 2}
    assert chosen(plain, 1) is plain


def by_hand(raws, kind, options, index, values, name):
    """Process each exposure by itself with the calibration it takes."""
    detector = raws.detector("LATISS", 0)
    frames = []
    for raw, which in zip(raws.select(f"observation_type='{kind}'"), index, strict=True):
        stack = open_stack(detector, [raw], root=str(raws.root))
        given = {} if which < 0 else {name: values[which]}
        frames.append(isr(stack, given, options(which >= 0)).frames()["image"].values[0])
    return np.stack(frames)


@pytest.mark.parametrize("index", [(0, 0, 0, 1, 1, 1), (1, 0, 1, 0, 1, 0), (1, 1, 1, 1, 1, 1)])
def test_half_the_exposures_take_another_bias(raws, index):
    detector = raws.detector("LATISS", 0)
    values = tuple(image_calibration(detector, seed) for seed in (1, 2))
    stack = isr(stack_of(raws, "bias"), {"bias": Choice(values, index)}, Isr(bias=True))
    frames = stack.frames()["image"].values
    own = by_hand(raws, "bias", lambda _: Isr(bias=True), index, values, "bias")
    np.testing.assert_array_equal(frames, own)
    product = combine(stack, Combine(statistic="mean")).compute(scheduler="synchronous")
    np.testing.assert_allclose(
        product["image"].values, own.mean(axis=0, dtype=np.float64), rtol=2**-23, atol=1e-6
    )
    # Scatter of six, and of each bias the error that the exposures have in common, less what of it
    # is scatter: the sample variance of a number that is 1 for those that take it and else 0.
    takes = np.array([[which == i for i in index] for which in (0, 1)], float)
    common = 4.0 * (takes.mean(axis=1) ** 2 - takes.var(axis=1, ddof=1) / COUNT).sum()
    scatter = own.astype(np.float64).var(axis=0, ddof=1) / COUNT
    np.testing.assert_allclose(product["variance"].values, scatter + common, rtol=1e-5)
    whole = assemble(product, detector)
    assert whole["image"].shape == detector.shape


def test_a_choice_of_what_is_shared(raws):
    detector = raws.detector("LATISS", 0)
    lists = [
        xr.Dataset({k: ("box", np.array([v], np.int32)) for k, v in zip(names, box, strict=True)})
        for names in [("x0", "y0", "width", "height")]
        for box in [(3, 4, 5, 6), (40, 50, 1, 9)]
    ]
    index = (1, 0, -1, 0, 1, 1)
    options = Isr(interpolate=False)
    stack = isr(stack_of(raws, "bias"), {"defects": Choice(tuple(lists), index)}, options)
    mask = assemble(stack.frames()[["mask"]], detector)["mask"].values
    for exposure, which in enumerate(index):
        expected = np.zeros(detector.shape, bool)
        if which == 0:
            expected[4:10, 3:8] = True
        elif which == 1:
            expected[50:59, 40] = True
        np.testing.assert_array_equal(mask[exposure] != 0, expected)


def test_an_exposure_that_takes_none_is_left_as_it_is(raws):
    detector = raws.detector("LATISS", 0)
    flat = image_calibration(detector, 3, "1", 200.0)
    flat["variance"][:] = 0.01
    index = (0, -1, 0, 0, -1, 0)
    stack = isr(stack_of(raws, "flat"), {"flat": Choice((flat,), index)}, Isr(flat=True))
    frames = stack.frames()["image"].values
    own = by_hand(raws, "flat", lambda takes: Isr(flat=takes), index, (flat,), "flat")
    np.testing.assert_array_equal(frames, own)
    assert frames[1].mean() > 100 * frames[0].mean()


def test_bands_of_any_height_give_the_same(raws):
    detector = raws.detector("LATISS", 0)
    values = tuple(image_calibration(detector, seed) for seed in (1, 2))
    results = []
    for band_rows in (7, 62):
        stack = open_stack(
            detector, raws.select("observation_type='bias'"), root=str(raws.root),
            band_rows=band_rows,
        )  # fmt: skip
        given = {"bias": Choice(values, (1, 0, 1, 0, 1, 0))}
        product = combine(isr(stack, given, Isr(bias=True)), Combine())
        results.append(product.compute(scheduler="synchronous"))
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(results[0][name].values, results[1][name].values)


class Count(Callback):
    """The keys of executed measure tasks."""

    def __init__(self):
        super().__init__(posttask=self.note)
        self.keys = []

    def note(self, key, *_):
        if str(key).startswith("measure-"):
            self.keys.append(str(key))


def measure_keys(collection):
    """Keys of all measure tasks of a graph; each is there once, whoever needs it."""
    return {str(k) for k in collection.__dask_graph__() if str(k).startswith("measure-")}


def test_later_shares_and_images_leave_earlier_measurements_alone(raws):
    detector = raws.detector("LATISS", 0)
    stack = isr(stack_of(raws, "flat"), {}, Isr())
    before = measure_keys(stack.measurements())
    assert len(before) == COUNT
    later = stack.share("anything", 3).share("bias gain", Choice((1, 2), (0, 1) * 3))
    later = later.apply("bias", image_calibration(detector, 1)).solve("sum", len)
    assert measure_keys(later.measurements()) == before
    product = later.reduce(_mean, {"image": np.float32}, name="mean")
    assert measure_keys(product) == before
    assert stack.token != later.token
    # What a measurement can see does decide it.
    first = stack.share("anything", 3).measure("again", _nothing)
    second = stack.share("anything", 4).measure("again", _nothing)
    assert len(measure_keys(first.measurements()) & measure_keys(second.measurements())) == COUNT
    assert measure_keys(first.measurements()) != measure_keys(second.measurements())


def test_a_flat_scaled_over_the_focal_plane_measures_each_exposure_once(raws):
    detector = raws.detector("LATISS", 0)
    bias = Choice(tuple(image_calibration(detector, seed) for seed in (1, 2)), (0, 1) * 3)
    stacks = {0: isr(stack_of(raws, "flat"), {"bias": bias}, Isr(bias=True))}
    product = combine(stacks, Combine(scale="focal_plane"))[0]
    with Count() as counted, dask.config.set(scheduler="synchronous"):
        product.compute()
    kinds = Counter(key.rsplit("-", 2)[0] for key in counted.keys)
    assert kinds == {"measure-readout": COUNT, "measure-level": COUNT}
    assert len(set(counted.keys)) == len(counted.keys) == 2 * COUNT
    exposures = Counter(key.rsplit("-", 2)[1] for key in counted.keys)
    assert set(exposures.values()) == {2}
    assert len(exposures) == COUNT


def _mean(band):
    return {"image": band.image.mean(axis=0)}


def _nothing(frame, context):
    return 0


def test_rows_of_planes_are_views():
    planes = Planes(np.arange(24, dtype=np.float32).reshape(2, 4, 3), range(10, 14))
    part = planes.part(range(11, 13))
    np.testing.assert_array_equal(part.image, planes.image[:, 1:3])
    assert np.shares_memory(part.image, planes.image)
