"""Figures and tables of electro-optical products: what is drawn, not how it looks."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from electro_optical import NO_CURVE, crosstalk, kernel, linearizer, names, ptc

from cpflow.errors import UsageError
from cpflow.products import LINEARIZER
from cpflow.report.amplifier_tables import small_with_error, tables_of, with_error
from cpflow.report.crosstalk_figures import crosstalk_figure
from cpflow.report.curves import draw
from cpflow.report.kernel_figures import kernel_figure
from cpflow.report.linearity_figures import correction_figure, residual_figure
from cpflow.report.panels import limit_of, mean_of, power_of
from cpflow.report.ptc_figures import curve_figure, gain_figure

PRODUCTS = {"ptc": ptc, "linearizer": linearizer, "bfk": kernel, "crosstalk": crosstalk}


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def points(axes, gid):
    """All points with this mark, in the order of x."""
    found = [line.get_xydata() for line in lines(axes, gid)]
    if not found:
        return np.empty((0, 2))
    together = np.concatenate(found)
    return together[np.argsort(together[:, 0])]


def lag_axes(figure):
    return [axes for axes in figure.axes if axes.get_title(loc="left").startswith("lag")]


def texts(axes, gid):
    return [text.get_text() for text in axes.texts if text.get_gid() == gid]


# -- photon transfer curve -----------------------------------------------------------------


@pytest.mark.parametrize("fit_type", ["FULLCOVARIANCE", "EXPAPPROXIMATION"])
def test_every_pair_of_every_amplifier_is_drawn(fit_type):
    product = ptc(names(4), bad=(2,), fit_type=fit_type)
    figure = curve_figure(product, "title")
    assert len(figure.axes) == 2 * 4
    full = fit_type == "FULLCOVARIANCE"
    fitted = product["covariances"][:, :, 0, 0] if full else product["variance"]
    mean, model = product["mean"].values, product["variance_model"].values
    for a in range(4):
        curve, residual = figure.axes[2 * a : 2 * a + 2]
        used = product["used"].values[a]
        np.testing.assert_allclose(
            points(curve, "used"), np.stack([mean[a], fitted[a]], 1)[used] / 1000
        )
        np.testing.assert_allclose(
            points(curve, "unused"), np.stack([mean[a], fitted[a]], 1)[~used] / 1000
        )
        if a == 2:
            assert not lines(curve, "model")
            assert not lines(curve, "turnoff")
            assert texts(curve, "reason")[0].replace("\n", " ") == NO_CURVE
            continue
        (line,) = lines(curve, "model")
        np.testing.assert_allclose(line.get_ydata(), model[a] / 1000)
        (turnoff,) = lines(curve, "turnoff")
        assert turnoff.get_xdata()[0] == mean[a, -2] / 1000
        left = ((fitted[a] - model[a]) / mean[a]).values
        np.testing.assert_allclose(points(residual, "used")[:, 1], left[used], atol=1e-12)
        # The saturated pair is far below the scale: an arrow at its lower edge.
        (arrow,) = lines(residual, "unused")
        assert arrow.get_marker() == "v"
        low, high = residual.get_ylim()
        assert low < arrow.get_ydata()[0] < high


def test_a_curve_without_a_stored_variance_model_is_drawn_with_that_of_lag_zero():
    product = ptc(names(2))
    figure = curve_figure(product.drop_vars("variance_model"), "title")
    (line,) = lines(figure.axes[0], "model")
    np.testing.assert_allclose(
        line.get_ydata(), product["covariances_model"].values[0, :, 0, 0] / 1000
    )


def test_gain_and_noise_have_error_bars_and_bad_amplifiers_a_cross():
    product = ptc(names(5), bad=(1,))
    figure = gain_figure(product, "title")
    assert len(figure.axes) == 4
    for axes, name, scale in zip(
        figure.axes, ("gain", "noise", "a", "turnoff"), (1, 1, 1e-6, 1000), strict=True
    ):
        values = product[name].values
        values = values[:, 0, 0] if name == "a" else values
        np.testing.assert_allclose(
            points(axes, "used")[:, 1], np.delete(values, 1) / scale, rtol=1e-12
        )
        assert list(points(axes, "missing")[:, 0]) == [1]
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == names(5)
    (bars,) = figure.axes[0].collections
    lengths = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
    np.testing.assert_allclose(lengths, np.full(4, 2 * 0.005), rtol=1e-9)


def test_the_map_has_x_across_and_lags_have_points_and_model():
    product = ptc(names(4), bad=(3,))
    figure = draw(product)["covariances"]
    area, *_ = figure.axes
    (image,) = area.images
    # Powers of ten: the largest element is the centre, -2e-6.
    mean_a = product["a"].values[:3].mean(axis=0)
    np.testing.assert_allclose(image.get_array(), mean_a.T / 1e-6, rtol=1e-12)
    assert len(area.texts) == mean_a.size
    assert area.get_xlabel() == "lag in x / pixel"
    lags = lag_axes(figure)
    assert [axes.get_title(loc="left") for axes in lags] == [
        "lag (0, 0)", "lag (1, 0)", "lag (0, 1)", "lag (1, 1)", "lag (2, 0)", "lag (0, 2)"
    ]  # fmt: skip
    gain, mean = product["gain"].values[:3, None], product["mean"].values[:3]
    for axes, (i, j) in zip(lags, [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2)], strict=True):
        ratio = gain * product["covariances"].values[:3, :, i, j] / mean
        np.testing.assert_allclose(points(axes, "used")[:, 1], ratio.mean(axis=0)[:-1])
        assert len(points(axes, "unused")) == 1
        assert len(points(axes, "each")) == ratio.size
        (line,) = lines(axes, "model")
        model = gain * product["covariances_model"].values[:3, :, i, j] / mean
        np.testing.assert_allclose(line.get_ydata(), model.mean(axis=0))


def test_covariances_of_one_amplifier():
    from cpflow.report.curves import covariance_figure

    product = ptc(names(4), bad=(3,))
    figure = covariance_figure(product, "title", amplifier="C01")
    np.testing.assert_allclose(
        figure.axes[0].images[0].get_array(), product["a"].values[1].T / 1e-6
    )
    ratio = product["gain"].values[1] * product["covariances"].values[1, :, 1, 0]
    np.testing.assert_allclose(
        points(lag_axes(figure)[1], "used")[:, 1], (ratio / product["mean"].values[1])[:-1]
    )
    covariance_figure(product, "title", amplifier="C03")
    with pytest.raises(UsageError, match="no amplifier 'C09'"):
        covariance_figure(product, "title", amplifier="C09")


@pytest.mark.parametrize("fit_type", ["FULLCOVARIANCE", "EXPAPPROXIMATION"])
def test_a_detector_of_bad_amplifiers_only_is_drawn(fit_type):
    figures = draw(ptc(names(2), bad=(0, 1), fit_type=fit_type))
    assert all(png.startswith(b"\x89PNG") for png in figures.png().values())


def test_a_fit_of_variances_only_has_one_lag_with_a_model():
    figure = draw(ptc(names(3), fitted=1, fit_type="EXPAPPROXIMATION"))["covariances"]
    assert np.isfinite(figure.axes[0].images[0].get_array().filled(np.nan)).sum() == 1
    variance, neighbour, *_ = lag_axes(figure)
    assert len(lines(variance, "model")[0].get_xdata()) == 10
    assert len(lines(neighbour, "model")[0].get_xdata()) == 0
    assert len(points(neighbour, "used")) == 9


# -- linearity -----------------------------------------------------------------------------


def test_residuals_are_drawn_in_percent_without_what_fills_up():
    product = linearizer(names(3), padding=20, bad=(1,))
    figure = residual_figure(product, "title")
    assert len(figure.axes) == 3
    axes = figure.axes[0]
    expected = np.stack(
        [product["signal"].values[0] / 1000, 100 * product["residual"].values[0]], 1
    )
    np.testing.assert_allclose(points(axes, "used"), expected[:7])
    # 20 % is beyond the scale.
    assert [line.get_marker() for line in lines(axes, "unused")] == ["v"]
    assert points(axes, "unused")[0, 0] == 80
    (shaded,) = [patch for patch in axes.patches if patch.get_gid() == "range"]
    box = shaded.get_bbox() if hasattr(shaded, "get_bbox") else shaded.get_extents()
    assert (box.x0, box.x1) == pytest.approx((1.0, product["fit_high"].values[0] / 1000))
    guides = {line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1}
    assert {-0.05, 0.0, 0.05} <= guides
    # A guide that cannot be seen is none.
    assert axes.get_ylim()[1] > 0.05
    assert not len(points(figure.axes[1], "used"))
    assert texts(figure.axes[1], "reason") == ["no curve"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("squared", lambda s: 1e-7 * s**2),
        ("polynomial", lambda s: 1e-7 * s**2 + 1e-13 * s**3),
        ("lookup_table", None),
        ("spline", None),
    ],
)
def test_corrections_are_those_that_are_applied(kind, expected):
    product = linearizer(names(3), kind=kind, bad=(2,))
    figure = correction_figure(product, "title")
    drawn = lines(figure.axes[0], "correction")
    assert [line.get_label() for line in drawn] == ["C00", "C01"]
    if expected is not None:
        signal = 1000 * drawn[0].get_xdata()
        # The correction is that of float32 pixels: 2**-24 of the signal is 6e-6 %.
        np.testing.assert_allclose(
            drawn[0].get_ydata(), 100 * expected(signal) / signal, atol=1.3e-5
        )
    scatter = figure.axes[1]
    np.testing.assert_allclose(points(scatter, "used")[:, 1], [0.015, 0.015])
    assert list(points(scatter, "missing")[:, 0]) == [2]


def test_a_curated_linearizer_has_no_points_to_draw():
    product = linearizer(names(2))[["kind", "coefficients"]]
    LINEARIZER.check(product)
    assert len(draw(product, "linearizer")) == 0
    (table,) = tables_of("linearizer", product)
    assert table.rows[0][:3] == ("C00", "squared", "1e-07")


# -- kernel and crosstalk --------------------------------------------------------------------


def test_the_kernel_and_its_cuts():
    product = kernel(names(4), invalid=(1, 2))
    figure = kernel_figure(product, "title")
    area, along_x, along_y, centres, _ = figure.axes
    detector = product["detector_kernel"].values
    np.testing.assert_allclose(area.images[0].get_array(), detector.T / 1e-7)
    for axes, cut in ((along_x, detector[:, 4]), (along_y, detector[4, :])):
        found = [
            line for line in axes.lines if len(line.get_xdata()) == 9 and line.get_marker() == "o"
        ]
        np.testing.assert_allclose(found[0].get_ydata(), cut / 1e-7)
        assert list(found[0].get_xdata()) == list(range(-4, 5))
        assert len(lines(axes, "amplifier")) == 2
        assert len(axes.collections) == 1, "error bars"
    assert [p[0] for p in points(centres, "used")] == [0, 3]
    np.testing.assert_allclose(
        points(centres, "unused")[:, 1], product["kernel"].values[[1, 2], 4, 4] / 1e-7
    )


def test_a_kernel_of_the_detector_that_is_not_valid_says_so():
    figure = kernel_figure(kernel(names(2), detector="not negative"), "title")
    assert texts(figure.axes[0], "reason") == ["not negative"]


def test_a_kernel_without_errors_is_drawn():
    optional = ["kernel_error", "detector_kernel_error", "total", "detector_reason"]
    product = kernel(names(2)).drop_vars([*optional, "detector_valid"])
    assert len(draw(product)) == 1
    tables_of("bfk", product)


def test_crosstalk_is_in_millionths_with_valid_ones_framed():
    product = crosstalk(names(5), unmeasured=(2,))
    figure = crosstalk_figure(product, "title")
    axes = figure.axes[0]
    framed = [patch for patch in axes.patches if patch.get_gid() == "valid"]
    assert len(framed) == product["valid"].values.sum()
    values = texts(axes, "value")
    assert len(values) == np.isfinite(product["coefficients"].values).sum()
    assert values[:2] == ["100", "1.0"]
    (first,) = [p for p in framed if p.get_xy() == (0.5, -0.5)]
    assert first is framed[0], "target 1 of source 0 is across"
    image = axes.images[0].get_array()
    np.testing.assert_allclose(image[1, 0], 200)
    assert image.mask[2].all()
    assert axes.get_ylabel() == "source amplifier"


def test_many_amplifiers_have_no_numbers():
    axes = crosstalk_figure(crosstalk(names(24)), "title").axes[0]
    assert not texts(axes, "value")
    assert len([p for p in axes.patches if p.get_gid() == "valid"]) == 46


def test_crosstalk_without_any_valid_coefficient_is_drawn():
    product = crosstalk(names(3), unmeasured=(0, 1, 2))
    assert len(draw(product)) == 1
    _, largest = tables_of("crosstalk", product)
    assert largest.rows == ()


# -- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PRODUCTS)
@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_amplifiers_is_drawn(kind, count):
    product = PRODUCTS[kind](names(count))
    figures = draw(product.chunk())
    html = figures._repr_html_()
    assert html.count("data:image/png;base64,") == len(figures) > 0
    assert repr(figures).startswith("<figures: ")


def test_a_title_says_what_it_is():
    figures = draw(kernel(names(2)))
    assert figures["kernel"].get_suptitle() == "bfk: LATISS, detector 0"
    assert draw(kernel(names(2)), title="mine")["kernel"].get_suptitle() == "mine"


def test_figures_are_saved_by_name(tmp_path):
    paths = draw(linearizer(names(2))).save(tmp_path / "new", "linearizer-0", ".svg")
    assert [path.name for path in paths] == [
        "linearizer-0-residuals.svg",
        "linearizer-0-corrections.svg",
    ]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_other_products_are_refused():
    with pytest.raises(UsageError, match="bias has no curves to draw"):
        draw(xr.Dataset(attrs={"product": "bias"}))
    with pytest.raises(UsageError, match="this dataset has no curves"):
        draw(xr.Dataset())


# -- tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.00789, "1.2346 ± 0.0079"),
        (8.6562, 0.5716, "8.66 ± 0.57"),
        (120441.4, 13000.0, "120441 ± 13000"),
        (-3.2940, 0.3253, "-3.29 ± 0.33"),
        (1.5, np.nan, "1.5"),
        (1.5, 0.0, "1.5"),
        (np.nan, 0.1, ""),
    ],
)
def test_errors_have_two_digits(value, error, text):
    assert with_error(value, error) == text


def test_small_numbers_share_a_power_of_ten_with_their_error():
    assert small_with_error(5.745e-8, 6.68e-9) == "(5.75 ± 0.67)e-8"
    assert small_with_error(5.745e-8, 6.68e-7) == "(0.6 ± 6.7)e-7"
    assert small_with_error(1e-7, np.nan) == "1e-07"


def test_rows_of_a_photon_transfer_curve():
    amplifiers, pairs = tables_of("ptc", ptc(names(3), bad=(1,)))
    assert amplifiers.rows[0] == (
        "C00", "1.2500 ± 0.0050", "7.00 ± 0.30", "-2.000 ± 0.010", "80111", "12.0 / 6", "9 / 10", ""
    )  # fmt: skip
    assert amplifiers.rows[1][1:3] == ("", "")
    assert amplifiers.rows[1][-2:] == ("0 / 10", NO_CURVE)
    assert amplifiers.bad == (False, True, False)
    assert len(pairs.rows) == 10
    assert pairs.rows[0][0] == "2021031100001"
    assert pairs.bad == (*[False] * 9, True)


def test_rows_of_linearizers():
    (table,) = tables_of("linearizer", linearizer(names(2), padding=5, bad=(1,)))
    assert table.rows[0][:5] == ("C00", "squared", "1e-07", "1000 ... 68714", "0.015")
    assert table.rows[0][-2:] == ("7 / 8", "")
    assert table.rows[1][1] == "none"
    assert table.rows[1][-1] == "no curve"
    (spline,) = tables_of("linearizer", linearizer(names(1), kind="spline"))
    assert spline.rows[0][2] == "3 nodes to 80000 adu, largest deviation 90 adu"
    (lookup,) = tables_of("linearizer", linearizer(names(1), kind="lookup_table"))
    assert lookup.rows[0][2] == "500 entries, largest 50 adu"


def test_rows_of_kernels_and_crosstalk():
    (table,) = tables_of("bfk", kernel(names(2), invalid=(1,)))
    assert table.rows[0] == ("C00", "yes", "-0.500 ± 0.010", "0.3", "")
    assert table.rows[1][1] == "no"
    assert table.rows[1][4] == "an element is too high"
    assert table.rows[2][:2] == ("detector", "yes")
    assert table.bad == (False, True, False)
    (table,) = tables_of("bfk", kernel(names(2), detector="not negative"))
    assert table.rows[2][1::3] == ("no", "not negative")
    assert table.bad == (False, False, True)
    sources, largest = tables_of("crosstalk", crosstalk(names(4), unmeasured=(1,)))
    assert sources.rows[3] == ("C03", "1", "C02", "400 ± 10")
    assert sources.rows[1] == ("C01", "0", "", "")
    assert largest.rows[0] == ("C03", "C02", "400 ± 10", "25")
    assert len(largest.rows) == 4


# -- what they share -------------------------------------------------------------------------


def test_means_leave_out_what_is_not_finite():
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan]])
    mean, error = mean_of(values)
    np.testing.assert_array_equal(mean, [2.0, 5.0, np.nan])
    np.testing.assert_allclose(error, [1.0, np.nan, np.nan])


def test_limits_and_powers_of_nothing():
    assert limit_of([np.nan]) == 1.0
    assert limit_of([0.001], 0.1) == 0.1
    assert power_of([np.nan, 0.0]) == 0
    assert power_of([3e-6, -4e-7]) == -6
