"""What reports say of each amplifier, as tables of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.products import LINEARITY_KINDS
from cpflow.report.crosstalk_figures import MILLIONTH
from cpflow.report.linearity_figures import points_of
from cpflow.report.panels import names_of, reasons_of

if TYPE_CHECKING:
    import xarray as xr

_PERCENT = 100.0
_LARGEST = 10


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of a report; `bad` rows stand out."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: tuple[bool, ...]
    note: str = ""


def tables_of(product_type: str, product: xr.Dataset) -> list[TextTable]:
    """Return the tables of a ``ptc``, ``linearizer``, ``bfk`` or ``crosstalk``.

    Parameters
    ----------
    product_type : str
    product : xarray.Dataset
        In memory.

    Returns
    -------
    list of TextTable
        The first has a row for each amplifier.
    """
    return _TABLES[product_type](product)


def number(value: float, form: str = ".4g") -> str:
    """Return a number as text, empty for one that is not finite."""
    return format(float(value), form) if np.isfinite(value) else ""


def with_error(value: float, error: float) -> str:
    """Return ``value ± error``, both with two digits of the error; empty without a value."""
    if not np.isfinite(value):
        return ""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.5g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def small_with_error(value: float, error: float) -> str:
    """Return ``(value ± error)e-8`` of a number of any size, with two digits of the error."""
    if not (np.isfinite(error) and error > 0):
        return f"{value:.4g}"
    power = int(np.floor(np.log10(max(abs(value), error))))
    return f"({with_error(value / 10.0**power, error / 10.0**power)})e{power:d}"


def _value(product: xr.Dataset, name: str, index: Any, scale: float = 1.0) -> float:
    """Return one value of a variable, NaN if the product lacks it."""
    return float(product[name].values[index]) / scale if name in product else float("nan")


def _ptc(product: xr.Dataset) -> list[TextTable]:
    reasons, used = reasons_of(product), product["used"].values
    pairs = used.shape[1]
    rows = []
    for a, name in enumerate(names_of(product)):
        chi2, dof = _value(product, "chi2", a), _value(product, "dof", a)
        rows.append(
            (
                name,
                with_error(_value(product, "gain", a), _value(product, "gain_error", a)),
                with_error(_value(product, "noise", a), _value(product, "noise_error", a)),
                with_error(
                    _value(product, "a", (a, 0, 0), MILLIONTH),
                    _value(product, "a_error", (a, 0, 0), MILLIONTH),
                ),
                number(_value(product, "turnoff", a), ".0f"),
                f"{number(chi2, '.1f')} / {number(dof, '.0f')}" if dof > 0 else number(chi2, ".1f"),
                f"{int(used[a].sum())} / {pairs}",
                reasons[a],
            )
        )
    columns = (
        "amplifier",
        "gain / (electron/adu)",
        "read noise / electron",
        "a00 / (1e-6/electron)",
        "turnoff / adu",
        "chi2 / dof",
        "pairs used",
        "reason",
    )
    return [_table("Amplifiers", columns, rows, reasons), _pairs(product)]


def _pairs(product: xr.Dataset) -> TextTable:
    used = product["used"].values
    rows = []
    for p, (first, second) in enumerate(product["exposures"].values):
        mean = product["mean"].values[:, p]
        level = float(np.median(mean[np.isfinite(mean)])) if np.isfinite(mean).any() else np.nan
        rows.append(
            (
                str(int(first)),
                str(int(second)),
                number(_value(product, "exposure_time", p)),
                number(level, ".1f"),
                f"{int(used[:, p].sum())} / {len(used)}",
            )
        )
    columns = ("first exposure", "second exposure", "exposure time / s", "median level / adu",
               "amplifiers that use it")  # fmt: skip
    return _table(
        "Pairs", columns, rows, ["" if used[:, p].any() else "x" for p in range(len(rows))]
    )


def _linearizer(product: xr.Dataset) -> list[TextTable]:
    reasons = reasons_of(product)
    used = product["used"].values[:, points_of(product)] if "used" in product else None
    rows = []
    for a, name in enumerate(names_of(product)):
        low, high = _value(product, "fit_low", a), _value(product, "fit_high", a)
        rows.append(
            (
                name,
                LINEARITY_KINDS[int(product["kind"].values[a])],
                _coefficients(product, a),
                f"{low:.0f} ... {high:.0f}" if np.isfinite(low + high) else "",
                number(_PERCENT * _value(product, "scatter", a), ".3f"),
                number(_PERCENT * _value(product, "jitter", a), ".3f"),
                number(_value(product, "chi2", a), ".2f"),
                number(_value(product, "turnoff", a), ".0f"),
                "" if used is None else f"{int(used[a].sum())} / {used.shape[1]}",
                reasons[a],
            )
        )
    columns = (
        "amplifier",
        "kind",
        "coefficients",
        "fit range / adu",
        "scatter / %",
        "jitter / %",
        "reduced chi2",
        "turnoff / adu",
        "points used",
        "reason",
    )
    note = (
        "Scatter: of the residuals relative to the signal. Jitter: what points scatter beyond "
        "their errors, mostly the lamp's and the shutter's."
    )
    return [_table("Amplifiers", columns, rows, reasons, note)]


def _coefficients(product: xr.Dataset, amplifier: int) -> str:
    """Return powers as they are, and of long lists what matters."""
    kind = LINEARITY_KINDS[int(product["kind"].values[amplifier])]
    values = product["coefficients"].values[amplifier]
    values = values[np.isfinite(values)]
    if kind in ("none", "proportional"):
        return ""
    if kind == "lookup_table" and "table" in product:
        table = product["table"].values[amplifier]
        return f"{table.size} entries, largest {table[np.argmax(np.abs(table))]:.4g} adu"
    if kind == "spline":
        nodes, at = np.split(values, 2)
        return (
            f"{nodes.size} nodes to {nodes[-1]:.0f} adu, largest deviation "
            f"{at[np.argmax(np.abs(at))]:.4g} adu"
        )
    if kind == "double_spline":
        return f"{int(values[0])} and {int(values[1])} nodes"
    errors = np.full(values.size, np.nan)
    if "coefficient_errors" in product:
        errors = product["coefficient_errors"].values[amplifier][: values.size]
    return ", ".join(
        small_with_error(value, error) for value, error in zip(values, errors, strict=True)
    )


def _bfk(product: xr.Dataset) -> list[TextTable]:
    reasons, valid = reasons_of(product), product["valid"].values
    middle = tuple(n // 2 for n in product["detector_kernel"].shape)
    rows = [
        (
            name,
            "yes" if valid[a] else "no",
            with_error(
                _value(product, "kernel", (a, *middle), MILLIONTH),
                _value(product, "kernel_error", (a, *middle), MILLIONTH),
            ),
            number(_value(product, "total", a, MILLIONTH)),
            reasons[a],
        )
        for a, name in enumerate(names_of(product))
    ]
    whole = bool(product["detector_valid"].values) if "detector_valid" in product else True
    rows.append(
        (
            "detector",
            "yes" if whole else "no",
            with_error(
                _value(product, "detector_kernel", middle, MILLIONTH),
                _value(product, "detector_kernel_error", middle, MILLIONTH),
            ),
            "",
            str(product["detector_reason"].values) if "detector_reason" in product else "",
        )
    )
    columns = ("amplifier", "valid", "centre / (1e-6/electron)", "sum before / (1e-6/electron)",
               "reason")  # fmt: skip
    bad = ["" if one else "x" for one in (*valid, whole)]
    note = "Sum before: of the pre-kernel, before it was forced to zero."
    return [_table("Amplifiers", columns, rows, bad, note)]


def _crosstalk(product: xr.Dataset) -> list[TextTable]:
    sources, targets = (names_of(product, f"{end}_amp") for end in ("source", "target"))
    valid = product["valid"].values & np.isfinite(product["coefficients"].values)
    size = np.where(valid, np.abs(np.nan_to_num(product["coefficients"].values)), -1.0)
    rows = []
    for s, source in enumerate(sources):
        at = int(np.argmax(size[s]))
        some = size[s, at] >= 0
        rows.append(
            (
                source,
                str(int(valid[s].sum())),
                targets[at] if some else "",
                _coefficient(product, s, at) if some else "",
            )
        )
    places = np.argsort(-size, axis=None, kind="stable")[:_LARGEST]
    largest = []
    for place in places:
        s, t = (int(i) for i in np.unravel_index(place, size.shape))
        if size[s, t] < 0:
            break
        counts = str(int(product["counts"].values[s, t])) if "counts" in product else ""
        largest.append((sources[s], targets[t], _coefficient(product, s, t), counts))
    unit = f"/ (1e-6 {product['coefficients'].attrs.get('units', 'adu/adu')})"
    return [
        _table("Amplifiers as sources",
            ("amplifier", "valid targets", "largest at", f"coefficient {unit}"),
            rows, ["" if row[2] else "x" for row in rows]),
        _table("Largest valid coefficients",
            ("source", "target", f"coefficient {unit}", "ratios"), largest, [""] * len(largest)),
    ]  # fmt: skip


def _coefficient(product: xr.Dataset, source: int, target: int) -> str:
    # Curated matrices have the scatter of the ratios only, which is no error of the coefficient.
    return with_error(
        _value(product, "coefficients", (source, target), MILLIONTH),
        _value(product, "mean_errors", (source, target), MILLIONTH),
    )


def _table(
    title: str,
    columns: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    bad: Sequence[str],
    note: str = "",
) -> TextTable:
    return TextTable(title, columns, tuple(rows), tuple(bool(one) for one in bad), note)


_TABLES: dict[str, Callable[[xr.Dataset], list[TextTable]]] = {
    "ptc": _ptc,
    "linearizer": _linearizer,
    "bfk": _bfk,
    "crosstalk": _crosstalk,
}
