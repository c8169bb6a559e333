"""What a product changes against the one that was certified before: where, and how surely."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cpflow.errors import MissingCalibrationError, UsageError
from cpflow.kernels.compare import compare_images
from cpflow.kernels.planes import BAD, NO_DATA
from cpflow.products import is_image
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.report.pictures import png_bytes, save, shrink
from cpflow.store import write_text
from cpflow.verify.residuals import construction_exposures, variance_inflation

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

_RELATIVE = ("flat", "fringe")
_MASKED = BAD | NO_DATA
# Numbers of each amplifier, with the variable that holds their errors.
_TABLES = {
    "ptc": (("gain", "gain_error"), ("noise", "noise_error"), ("turnoff", "turnoff_error")),
    "cti": (("inefficiency", "inefficiency_error"), ("trap_size", "trap_size_error")),
}


@dataclass(frozen=True, slots=True)
class Change:
    """One number that can be compared: old and new, and by how many standard deviations apart.

    `sigma` is NaN where no error is known.
    """

    amp: str
    quantity: str
    old: float
    new: float
    sigma: float
    units: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True)
class Comparison:
    """A product against another one of the same type.

    Parameters
    ----------
    repository : Repository
    new, old : DatasetRef
    """

    repository: Repository
    new: DatasetRef
    old: DatasetRef
    shared: int = field(default=0)
    """Exposures that both were made from; their noise is in both, and differences are smaller."""

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """All numbers that were compared, the surest changes first."""
        new = self.repository.open_dataset(self.new).load()
        old = self.repository.open_dataset(self.old).load()
        if is_image(self.new.type):
            found = self._images(new, old)
        elif self.new.type == "defects":
            found = self._defects(new, old)
        elif self.new.type == "crosstalk":
            found = _crosstalk(new, old)
        elif self.new.type == "bfk":
            found = _kernels(new, old)
        elif self.new.type == "linearizer":
            found = _turnoffs(new, old)
        elif self.new.type in _TABLES:
            found = _tables(new, old, _TABLES[self.new.type])
        else:
            raise UsageError(f"a {self.new.type} cannot be compared yet")
        return tuple(sorted(found, key=lambda c: -abs(c.sigma) if np.isfinite(c.sigma) else np.inf))

    def _detector(self) -> Any:
        return self.repository.detector(
            self.new.data_id.instrument, int(self.new.data_id.detector or 0)
        )

    def _images(self, new: xr.Dataset, old: xr.Dataset) -> list[Change]:
        detector, relative = self._detector(), self.new.type in _RELATIVE
        units = "1" if relative else str(new["image"].attrs.get("units", ""))
        inflation = [variance_inflation(len(construction_exposures(d))) for d in (new, old)]
        found = []
        for amplifier in detector.amplifiers:
            box = amplifier.detector_box
            part = box.rows, box.columns
            one = compare_images(
                new["image"].values[part],
                old["image"].values[part],
                # What clipped means state is too small (verify.residuals).
                inflation[0] * new["variance"].values[part]
                + inflation[1] * old["variance"].values[part],
                (new["mask"].values[part] & _MASKED) != 0,
                (old["mask"].values[part] & _MASKED) != 0,
                relative=relative,
            )
            name, nan = amplifier.name, float("nan")
            found += [
                Change(name, "mean", 0.0, one.mean, one.mean / one.error, units),
                Change(name, "chi2", 1.0, one.chi2, (one.chi2 - 1) / one.chi2_error, "1"),
                Change(name, "beyond 5 sigma", 0.0, one.beyond, nan, "pixel"),
                Change(name, "masked anew", 0.0, one.gained, nan, "pixel"),
                Change(name, "no longer masked", 0.0, one.lost, nan, "pixel"),
            ]
        return found

    def _defects(self, new: xr.Dataset, old: xr.Dataset) -> list[Change]:
        detector = self._detector()
        first, second = (defect_map(d, detector.shape) for d in (old, new))
        found, nan = [], float("nan")
        for amplifier in detector.amplifiers:
            box = amplifier.detector_box
            before, after = (m[box.rows, box.columns] for m in (first, second))
            found += [
                Change(amplifier.name, "masked", before.sum(), after.sum(), nan, "pixel"),
                Change(amplifier.name, "gained", 0, (after & ~before).sum(), nan, "pixel"),
                Change(amplifier.name, "lost", 0, (before & ~after).sum(), nan, "pixel"),
            ]
        return found

    def lines(self, most: int = 20) -> list[str]:
        """Return what a person reads: the surest changes first."""
        out = [f"{self.new} against {self.old.run}"]
        if self.shared:
            out.append(f"{self.shared} exposures are in both: differences are smaller for it")
        for change in self.changes[:most]:
            sure = f"  {change.sigma:+.1f} sigma" if np.isfinite(change.sigma) else ""
            out.append(
                f"{change.amp or 'detector':10} {change.quantity:18} {change.old:.6g} -> "
                f"{change.new:.6g} {change.units}{sure}"
            )
        return out

    @property
    def figure(self) -> Figure:
        """Difference and its significance, binned, of an image; else changes by amplifier."""
        if is_image(self.new.type):
            return self._image_figure()
        return _bar_figure(self)

    def _image_figure(self) -> Figure:
        from matplotlib.figure import Figure

        new, old = (self.repository.open_dataset(r) for r in (self.new, self.old))
        masked = ((new["mask"].values | old["mask"].values) & _MASKED) != 0
        difference = new["image"].values - old["image"].values
        if self.new.type in _RELATIVE:
            difference = difference / old["image"].values
        shown = np.where(masked, np.nan, difference)
        small, factor = shrink(shown, 256)
        spread = new["variance"].values + old["variance"].values
        if self.new.type in _RELATIVE:
            spread = spread / np.square(old["image"].values)
        error = np.sqrt(shrink(np.where(masked, np.nan, spread), 256)[0]) / factor
        with np.errstate(divide="ignore", invalid="ignore"):
            deviations = small / error
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        figure.suptitle(f"{self.new.type}: {self.new.run} less {self.old.run}")
        left, right = figure.subplots(1, 2)
        for axis, image, title in (
            (left, small, f"difference, means of {factor} x {factor}"),
            (right, deviations, "in standard deviations"),
        ):
            width = float(np.nanpercentile(np.abs(image), 99)) or 1.0
            drawn = axis.imshow(
                image, origin="lower", cmap="RdBu_r", vmin=-width, vmax=width,
                interpolation="nearest",
            )  # fmt: skip
            axis.set_title(title)
            figure.colorbar(drawn, ax=axis, shrink=0.8)
        return figure

    def save(self, path: str | Path) -> None:
        """Write a self-contained HTML page, or the figure alone as PNG, SVG or PDF."""
        target = Path(path)
        if target.suffix == ".html":
            title = escape(f"{self.new.type}: {self.new.run} against {self.old.run}")
            write_text(
                target,
                f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
                f"<h1>{title}</h1>{self._repr_html_()}</html>",
            )
            return
        save(self.figure, target)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "new": {"run": self.new.run, "checksum": self.new.checksum},
            "old": {"run": self.old.run, "checksum": self.old.checksum},
            "type": self.new.type,
            "shared_exposures": self.shared,
            "changes": [change.as_dict() for change in self.changes],
        }

    def _repr_html_(self) -> str:
        picture = base64.b64encode(png_bytes(self.figure)).decode()
        text = escape("\n".join(self.lines(60)))
        return f'<pre>{text}</pre><img src="data:image/png;base64,{picture}">'

    def __repr__(self) -> str:
        return f"<Comparison of {self.new.type}: {self.new.run} against {self.old.run}>"


def defect_map(defects: xr.Dataset, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a defect list, in the detector frame."""
    mask = np.zeros(shape, bool)
    columns = (defects[name].values for name in ("x0", "y0", "width", "height"))
    for x, y, width, height in zip(*columns, strict=True):
        mask[y : y + height, x : x + width] = True
    return mask


def _tables(
    new: xr.Dataset, old: xr.Dataset, quantities: Sequence[tuple[str, str]]
) -> list[Change]:
    found = []
    for a, amp in enumerate(new["amp"].values):
        for name, error in quantities:
            one, two = float(new[name].values[a]), float(old[name].values[a])
            spread = float(np.hypot(new[error].values[a], old[error].values[a]))
            sigma = (one - two) / spread if spread > 0 else float("nan")
            units = str(new[name].attrs.get("units", ""))
            found.append(Change(str(amp), name, two, one, sigma, units))
        if "a" in new and "a" in old:
            one, two = (float(d["a"].values[a, 0, 0]) for d in (new, old))
            spread = float(np.hypot(*(d["a_error"].values[a, 0, 0] for d in (new, old))))
            sigma = (one - two) / spread if spread > 0 else float("nan")
            found.append(Change(str(amp), "a00", two, one, sigma, "1/electron"))
    return found


def _turnoffs(new: xr.Dataset, old: xr.Dataset) -> list[Change]:
    """Compare what two linearizers add to signals up to where both are good."""
    from cpflow.kernels.linearity import linearize
    from cpflow.steps.tables import linearity

    nan = float("nan")
    found = []
    parts = [linearity(d) for d in (new, old)]
    for a, amp in enumerate(new["amp"].values):
        ends = [float(d["turnoff"].values[a]) if "turnoff" in d else 1e5 for d in (new, old)]
        top = min(end if np.isfinite(end) else 1e5 for end in ends)
        signal = np.linspace(0, top, 201, dtype=np.float32)[None, None]
        corrected = []
        for part in parts:
            image = signal.copy()
            linearize(image[0], part[a].kind, part[a].coefficients, part[a].table)
            corrected.append(image[0, 0])
        difference = corrected[0] - corrected[1]
        worst = int(np.argmax(np.abs(difference)))
        name = f"correction at {signal[0, 0, worst]:.0f} adu"
        found.append(
            Change(
                str(amp), name, float(corrected[1][worst]), float(corrected[0][worst]), nan, "adu"
            )
        )
    return found


def _kernels(new: xr.Dataset, old: xr.Dataset) -> list[Change]:
    found, nan = [], float("nan")
    for amp, one, two in [
        ("", new["detector_kernel"].values, old["detector_kernel"].values),
        *zip(map(str, new["amp"].values), new["kernel"].values, old["kernel"].values, strict=True),
    ]:
        middle = one.shape[0] // 2, one.shape[1] // 2
        other = two.shape[0] // 2, two.shape[1] // 2
        found.append(
            Change(amp, "centre", float(two[other]), float(one[middle]), nan, "1/electron")
        )
        found.append(Change(amp, "sum", float(two.sum()), float(one.sum()), nan, "1/electron"))
    return found


def _crosstalk(new: xr.Dataset, old: xr.Dataset) -> list[Change]:
    one, two = (np.asarray(d["coefficients"].values) for d in (new, old))
    errors = [
        np.asarray(d["mean_errors"].values) if "mean_errors" in d else np.full(one.shape, np.nan)
        for d in (new, old)
    ]
    spread = np.hypot(*errors)
    found = []
    for s, source in enumerate(new["source_amp"].values):
        for t, target in enumerate(new["target_amp"].values):
            if s == t or not (np.isfinite(one[s, t]) and np.isfinite(two[s, t])):
                continue
            sigma = float((one[s, t] - two[s, t]) / spread[s, t]) if spread[s, t] > 0 else np.nan
            name = f"from {source} to {target}"
            found.append(Change(str(source), name, float(two[s, t]), float(one[s, t]), sigma, "1"))
    return found


def _bar_figure(comparison: Comparison) -> Figure:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(c.quantity for c in comparison.changes))[:6]
    figure = Figure(figsize=(10, 1.0 + 1.8 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for axis, name in zip(axes, names, strict=True):
        own = [c for c in comparison.changes if c.quantity == name]
        own = sorted(own, key=lambda c: c.amp)
        axis.plot([c.amp for c in own], [c.old for c in own], "_", ms=12, color="0.4", label="old")
        axis.plot([c.amp for c in own], [c.new for c in own], ".", color="#0072B2", label="new")
        axis.set_ylabel(name)
    axes[0].legend()
    return figure


def compare(
    repository: Repository,
    new: DatasetRef,
    old: DatasetRef | None = None,
    collections: Sequence[str] = (),
) -> Comparison:
    """Compare a product with another, or with what is certified at the time of its exposures.

    Parameters
    ----------
    repository : Repository
    new : DatasetRef
    old : DatasetRef, optional
    collections : sequence of str
        Where to look for what is certified; by default where a run looks.

    Raises
    ------
    MissingCalibrationError
        If nothing else is certified then.
    UsageError
        If they are of two types, or the same.
    """
    lineage = [repository.registry.lineage(new.id)]
    if old is None:
        path = tuple(collections) or repository.default_inputs()
        numbers = sorted({use.exposure for use in lineage[0].raws})
        exposures = [
            repository.registry.exposure(n, instrument=new.data_id.instrument) for n in numbers
        ]
        found = repository.calibrations(
            new.type, exposures[-1:], int(new.data_id.detector or 0), path
        )
        old = next((ref for ref in found if ref is not None and ref.id != new.id), None)
        if old is None:
            raise MissingCalibrationError(
                f"no other {new.type} is certified in {', '.join(path)} for the exposures of {new}",
                hint="name what to compare with",
            )
    if old.id == new.id:
        raise UsageError(
            f"{new} is compared with itself",
            hint="name another one; `cpflow collections REPO` shows the runs",
        )
    if old.type != new.type:
        raise UsageError(f"a {new.type} cannot be compared with a {old.type}")
    lineage.append(repository.registry.lineage(old.id))
    used = [{use.exposure for use in one.raws} for one in lineage]
    return Comparison(repository, new, old, len(used[0] & used[1]))
