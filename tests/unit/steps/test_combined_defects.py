"""Defects of combined images, against a plain transcription of spec 4.6 and 4.7."""

from __future__ import annotations

from itertools import pairwise

import dask
import numpy as np
import pytest
import reference
import xarray as xr
from dask.base import is_dask_collection

from cpflow.camera import Amplifier, Box, Detector, Source
from cpflow.errors import MissingCalibrationError, ProductError
from cpflow.kernels.planes import BAD, INTRP, NO_DATA, SAT, VIGNETTED
from cpflow.products import DEFECTS
from cpflow.stack import Choice
from cpflow.stack.geometry import assemble, assemble_array
from cpflow.steps import Defects, find_combined_defects
from cpflow.steps.defect_search import midline_rows
from cpflow.steps.finish import finish_defects

ROWS, COLUMNS = 60, 40
SHAPE = (2 * ROWS, 2 * COLUMNS)
GAINS = {"LL": 0.8, "LR": 1.25, "UL": 2.0, "UR": 1.0}
BOXES = {"LL": (0, 0), "LR": (COLUMNS, 0), "UL": (0, ROWS), "UR": (COLUMNS, ROWS)}
UNITS = {"bias": "adu", "dark": "adu/s", "flat": "1"}
LEVELS = {"bias": (3.0, 1.0), "dark": (0.05, 0.02), "flat": (1.0, 0.005)}


def detector(kind="ITL"):
    amplifiers = tuple(
        Amplifier(
            name, (ROWS, COLUMNS), Source(1, Box(0, 0, COLUMNS, ROWS)), Box(0, 0, COLUMNS, ROWS),
            Box(*BOXES[name], COLUMNS, ROWS),
            flip_x=name[1] == "R", flip_y=name[0] == "U", gain=GAINS[name],
        )
        for name in BOXES
    )  # fmt: skip
    return Detector(0, "four", SHAPE, amplifiers, type=kind)


def product(kind, seed, units=None, **attrs):
    """A noisy image with outliers of both signs, a bad column, and pixels that are flagged."""
    rng = np.random.default_rng(seed)
    level, sigma = LEVELS[kind]
    image = np.empty(SHAPE)
    for i, (x0, y0) in enumerate(BOXES.values()):
        image[y0 : y0 + ROWS, x0 : x0 + COLUMNS] = rng.normal(
            level * (1 + 0.1 * i), sigma, (ROWS, COLUMNS)
        )
    spots = tuple(rng.integers(0, 80, (2, 40)))
    sizes = {"bias": 1500, "dark": 8, "flat": 0.3}
    image[spots] += rng.choice([-1, 1], 40) * rng.uniform(0.2, 2, 40) * sizes[kind]
    image[5:110, 12 + seed % 5] += 2 * sizes[kind] * rng.choice([0, -1, 1], 105)
    mask = np.zeros(SHAPE, np.uint16)
    for plane, count in ((BAD, 15), (NO_DATA, 10), (VIGNETTED, 10), (INTRP, 20), (SAT, 20)):
        mask[tuple(rng.integers(0, 80, (2, count)))] |= np.uint16(plane)
    image[mask & BAD != 0] = level
    image[40:60, 70:] = 0
    mask[40:60, 70:] = NO_DATA | VIGNETTED | BAD
    return xr.Dataset(
        {
            "image": (("y", "x"), image.astype(np.float32), {"units": units or UNITS[kind]}),
            "mask": (("y", "x"), mask),
        },
        attrs=attrs,
    ).chunk({"y": 50})


def slow_search(dataset, kind, options, threshold):
    """Defects of one image, and its counts by amplifier, as plain loops."""
    image = dataset["image"].values.astype(float)
    mask = dataset["mask"].values
    electrons = dataset["image"].attrs["units"].startswith("electron")
    bad = np.zeros(SHAPE, bool)
    counts = []
    for name, (x0, y0) in BOXES.items():
        gain = GAINS[name]
        places = [(y, x) for y in range(y0, y0 + ROWS) for x in range(x0, x0 + COLUMNS)]
        dark_place = [p for p in places if mask[p] & (NO_DATA | VIGNETTED)]
        flagged = [p for p in places if mask[p] & BAD and p not in set(dark_place)]
        skipped = {*dark_place, *flagged}
        searched = [p for p in places if p not in skipped]
        values = np.array([image[p] for p in searched])
        mean, variance, n = (v[0] for v in reference.clipped_mean(values[:, None]))
        sigma = np.sqrt(variance * n)
        hot, cold = np.inf, -np.inf
        if threshold == "STDEV":
            hot = options.sigma_bright * sigma
            cold = -np.inf if kind == "dark" else options.sigma_dark * sigma
        elif kind == "dark":
            hot = options.dark_current / (1 if electrons else gain)
        elif kind == "bias":
            hot = options.bias * (gain if electrons else 1)
        else:
            cold = (options.flat_fraction - 1) * mean
        above = [p for p in searched if image[p] - mean >= hot]
        below = [p for p in searched if image[p] - mean <= cold]
        for p in above + below + (flagged if options.bad_pixels else []):
            bad[p] = True
        counts.append((len(above), len(below), len(flagged)))
    out = bad.copy()
    for x in range(SHAPE[1]):
        rows = np.flatnonzero(bad[:, x])
        if options.blinking_count is not None and len(rows) >= options.blinking_count:
            for first, second in pairwise(rows):
                if second - first < options.blinking_gap:
                    out[first:second, x] = True
    for x0, y0 in BOXES.values():
        for x in range(x0, x0 + COLUMNS):
            column = out[y0 : y0 + ROWS, x]
            if options.column_bad_count is not None and column.sum() >= options.column_bad_count:
                column[:] = True
    return out, np.array(counts)


def found(camera, calibrations, options):
    """The map in the detector frame, and the product, which is lazy until here."""
    with dask.config.set(scheduler="synchronous"):
        lazy = find_combined_defects(camera, calibrations, options)
        DEFECTS.check(lazy, assembled=False)
        assert all(is_dask_collection(lazy[name].data) for name in lazy.data_vars)
        built = lazy.compute()
    return assemble_array(camera, built["defect"].values) != 0, built


VALUE = {"threshold": "VALUE", "dark_current": 3.0, "flat_fraction": 0.9, "mode": "OR"}


@pytest.mark.parametrize(
    "values",
    [
        VALUE,
        {"mode": "OR", "sigma_bright": 6.0, "column_bad_count": 45},
        {**VALUE, "threshold_dark": "STDEV", "bad_pixels": False, "blinking_count": 35},
        {"threshold_bias": "VALUE", "mode": "OR", "blinking_count": None},
    ],
)
@pytest.mark.parametrize("electrons", [False, True])
def test_against_plain_loops(values, electrons):
    options = Defects(**values)
    units = {"bias": "electron", "dark": "electron/s"} if electrons else {}
    products = {kind: product(kind, seed, units.get(kind)) for seed, kind in enumerate(UNITS)}
    mask, built = found(detector(), products, options)
    expected = np.zeros(SHAPE, bool)
    for kind, one in products.items():
        threshold = getattr(options, f"threshold_{kind}") or options.threshold
        bad, counts = slow_search(one, kind, options, threshold)
        assert bad.sum() > 20
        expected |= bad
        own = built.sel(source=kind)
        for i, name in enumerate(("hot_pixels", "cold_pixels", "flagged_pixels")):
            np.testing.assert_array_equal(own[name], counts[:, i], err_msg=f"{kind} {name}")
    np.testing.assert_array_equal(mask, expected)
    assert not expected[40:60, 72:].any(), "nothing is known of what no light reaches"


def test_a_bias_is_searched_in_stdev_mode_on_both_sides():
    """The reference finds nothing there (spec 4.6, step 4)."""
    bias = product("bias", 0)
    image = np.random.default_rng(5).normal(0, 1, SHAPE).astype(np.float32)
    image[3, 4], image[100, 70] = 50, -50
    bias = bias.assign(
        image=bias["image"].copy(data=image), mask=bias["mask"].copy(data=np.zeros_like(bias.mask))
    ).chunk()
    mask, _ = found(detector(), {"bias": bias}, Defects(sigma_bright=20.0, sigma_dark=-20.0))
    assert sorted(zip(*np.nonzero(mask), strict=True)) == [(3, 4), (100, 70)]


@pytest.mark.parametrize("mode", ["OR", "AND", "FRACTION"])
def test_images_of_a_kind_merge_as_the_mode_says_and_kinds_by_or(mode):
    flats = [product("flat", seed, filter=name) for seed, name in ((3, "r"), (4, "g"), (7, "z"))]
    dark = product("dark", 9)
    # Exposures without a flat count for nothing.
    choice = Choice(tuple(flats), (-1, 0, 1, 2, -1))
    options = Defects(**{**VALUE, "mode": mode, "fraction": 0.5})
    mask, built = found(detector(), {"flat": choice, "dark": dark}, options)
    votes = sum(slow_search(flat, "flat", options, "VALUE")[0].astype(int) for flat in flats)
    least = {"OR": 1, "AND": 3, "FRACTION": 2}[mode]
    np.testing.assert_array_equal(
        mask, (votes >= least) | slow_search(dark, "dark", options, "VALUE")[0]
    )
    assert list(built["source"].values) == ["dark", "flat g", "flat r", "flat z"]


def test_the_order_of_a_choice_does_not_matter():
    flats = tuple(product("flat", seed, filter=name) for seed, name in ((3, "r"), (4, "g")))
    options = Defects(**VALUE)
    _, one = found(detector(), {"flat": Choice(flats, (0, 1))}, options)
    _, other = found(detector(), {"flat": Choice(flats[::-1], (1, 0))}, options)
    xr.testing.assert_identical(one, other)


def test_products_of_one_name_are_numbered():
    biases = (product("bias", 1), product("bias", 2))
    _, built = found(detector(), {"bias": Choice(biases, (0, 1))}, Defects(**VALUE))
    assert list(built["source"].values) == ["bias", "bias 2"]


def test_boxes_by_hand_and_edges_are_added():
    def boxes(*rows):
        table = np.array(rows, np.int32).reshape(-1, 4)
        names = ("x0", "y0", "width", "height")
        return xr.Dataset({name: ("box", table[:, i]) for i, name in enumerate(names)})

    dark = product("dark", 2)
    options = Defects(**VALUE, edge_rows=2, edge_columns=3)
    mask, built = found(
        detector(),
        {
            "dark": dark,
            "manual_defects": Choice((boxes((30, 50, 20, 15)), boxes((79, 119, 1, 1))), (0, 1)),
        },
        options,
    )
    expected, _ = slow_search(dark, "dark", options, "VALUE")
    expected[50:65, 30:50] = True
    expected[:2] = expected[-2:] = True
    expected[:, :3] = expected[:, -3:] = True
    np.testing.assert_array_equal(mask, expected)
    finished = finish_defects(assemble(built, detector()))
    DEFECTS.check(finished, values=True)
    again, _ = found(detector(), {"dark": dark, "manual_defects": boxes()}, options)
    assert not again[52:63, 32:48].all()


def test_the_midline_of_e2v_flats():
    flat = product("flat", 0)
    image = np.random.default_rng(5).normal(1, 0.001, SHAPE).astype(np.float32)
    image[ROWS - 1 : ROWS + 1] -= 0.3
    image[ROWS - 2, 7] = 0
    empty = np.zeros(SHAPE, np.uint16)
    flat = flat.assign(image=flat["image"].copy(data=image), mask=flat["mask"].copy(data=empty))
    rows = np.zeros(SHAPE, bool)
    rows[ROWS - 1 : ROWS + 1] = True
    np.testing.assert_array_equal(midline_rows(detector(), 1), rows)
    spot = np.zeros(SHAPE, bool)
    spot[ROWS - 2, 7] = True
    expected = {
        ("E2V", "as_found"): rows | spot,
        ("E2V", "always"): rows | spot,
        ("E2V", "never"): spot,
        ("ITL", "never"): rows | spot,
    }
    for (type_, midline), wanted in expected.items():
        mask, _ = found(detector(type_), {"flat": flat.chunk()}, Defects(**VALUE, midline=midline))
        np.testing.assert_array_equal(mask, wanted, err_msg=f"{type_} {midline}")
    good = flat.assign(image=flat["image"].copy(data=np.ones(SHAPE, np.float32))).chunk()
    mask, _ = found(detector("E2V"), {"flat": good}, Defects(**VALUE, midline="always"))
    np.testing.assert_array_equal(mask, rows)
    mask, _ = found(detector("E2V"), {"bias": good}, Defects(**VALUE, midline="always"))
    assert not mask.any(), "flats only"


def test_amplifiers_that_meet_nobody_have_no_midline():
    camera = detector()
    lower = Detector(0, "two", (ROWS, 2 * COLUMNS), camera.amplifiers[:2])
    assert not midline_rows(lower, 3).any()


def test_edge_cases():
    flat = product("flat", 0)
    everything = flat["mask"].copy(data=np.full(SHAPE, BAD, np.uint16))
    mask, built = found(detector(), {"flat": flat.assign(mask=everything).chunk()}, Defects())
    assert mask.all()
    assert (built["flagged_pixels"] == ROWS * COLUMNS).all()
    unlit = flat["mask"].copy(data=np.full(SHAPE, NO_DATA | BAD, np.uint16))
    mask, built = found(detector(), {"flat": flat.assign(mask=unlit).chunk()}, Defects())
    assert not mask.any()
    assert not built["flagged_pixels"].any()
    nan = flat["image"].copy(data=np.full(SHAPE, np.nan, np.float32))
    only = flat.assign(image=nan).drop_vars("mask").chunk()
    assert not found(detector(), {"flat": only}, Defects())[0].any()
    constant = flat["image"].copy(data=np.ones(SHAPE, np.float32))
    only = flat.assign(image=constant).drop_vars("mask").chunk()
    assert not found(detector(), {"flat": only}, Defects())[0].any()


def test_what_cannot_be_is_refused():
    with pytest.raises(MissingCalibrationError, match="neither bias nor dark nor flat"):
        find_combined_defects(detector(), {"manual_defects": None}, Defects())
    small = product("flat", 0).isel(x=slice(0, 50))
    with pytest.raises(ProductError, match=r"flat has shape \(120, 50\)"):
        find_combined_defects(detector(), {"flat": small}, Defects())
