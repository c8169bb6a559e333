"""Residual images of a verification, one after the other: with controls in Jupyter, or drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from cpflow.errors import UsageError
from cpflow.graph import Layer, verifying_graph
from cpflow.kernels.planes import BAD, NO_DATA, SAT
from cpflow.plan import PlannedProduct, make_plan
from cpflow.report.pictures import shrink
from cpflow.stack.geometry import assemble_array
from cpflow.steps import isr
from cpflow.verify.rows import COLUMNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository

View = Literal["residual", "raw", "candidate"]
VIEWS: tuple[View, ...] = ("residual", "raw", "candidate")
_MASKED = BAD | SAT | NO_DATA


@dataclass(frozen=True)
class Shown:
    """One detector of one exposure in the detector frame, and which pixels are masked."""

    image: npt.NDArray[np.float32]
    masked: npt.NDArray[np.bool_]
    units: str


@dataclass(frozen=True)
class ResidualBrowser:
    """The exposures of a verification, to look at.

    In a notebook it shows controls: exposure, detector, what is shown, stretch, mask, only
    exposures that fail. `figure` draws one exposure without them.

    Parameters
    ----------
    repository : Repository
    verifications : tuple of DatasetRef
        Of one run: one for each detector.
    """

    repository: Repository
    verifications: tuple[DatasetRef, ...]

    @cached_property
    def tables(self) -> Mapping[int, Mapping[str, npt.NDArray[Any]]]:
        """The columns of each verification, by detector."""
        found = {}
        for ref in self.verifications:
            dataset = self.repository.open_dataset(ref)
            found[int(ref.data_id.detector or 0)] = {n: dataset[n].values for n in COLUMNS}
        return found

    def exposures(self, detector: int, *, failed: bool = False) -> list[int]:
        """Return the exposures of a detector; if asked for, those with a failed test."""
        table = self.tables[detector]
        chosen = table["exposure"] >= 0
        if failed:
            chosen = chosen & (table["severity"] == "required") & (table["verdict"] != "pass")
        return [int(e) for e in np.unique(table["exposure"][chosen])]

    def worst(self, detector: int) -> int:
        """Return the exposure with the smallest margin of a required test.

        Raises
        ------
        UsageError
            If there is no exposure.
        """
        table = self.tables[detector]
        chosen = (table["exposure"] >= 0) & (table["severity"] == "required")
        if not chosen.any():
            raise UsageError(
                "this verification looked at no exposures", hint="`cpflow report` shows its tests"
            )
        margin = np.where(np.isnan(table["margin"][chosen]), -np.inf, table["margin"][chosen])
        return int(table["exposure"][chosen][np.argmin(margin)])

    def failures(self, exposure: int, detector: int) -> list[str]:
        """Return what failed in an exposure, as "amplifier TEST value (limits)"."""
        table = self.tables[detector]
        chosen = (table["exposure"] == exposure) & (table["severity"] == "required")
        lines = []
        for i in np.flatnonzero(chosen & (table["verdict"] != "pass")):
            bounds = (table["low"][i], table["high"][i])
            limits = " to ".join("open" if np.isnan(b) else f"{b:.4g}" for b in bounds)
            name = f"{table['amp'][i]} {table['test'][i]}"
            lines.append(f"{name} {table['value'][i]:.4g} ({limits})")
        return lines

    # -- pixels -----------------------------------------------------------------------------

    def shown(self, exposure: int, detector: int, view: View = "residual") -> Shown:
        """Return the pixels of one exposure, processed now as the verification did.

        Parameters
        ----------
        exposure, detector : int
        view : str
            "residual"; "raw" in adu; "candidate", in its own unit.

        Raises
        ------
        UsageError
            If it has no image.
        """
        ref = next(r for r in self.verifications if (r.data_id.detector or 0) == detector)
        product = self._planned(ref, exposure)
        if view == "candidate":
            return self._candidate(ref)
        stack = product.stack
        if view == "raw":
            pixels = stack.frames()["image"][0].values
            pixels = np.stack(
                [
                    pixels[a][amplifier.imaging.rows, amplifier.imaging.columns]
                    for a, amplifier in enumerate(stack.detector.amplifiers)
                ]
            )
            image = assemble_array(stack.detector, pixels)
            return Shown(image, np.zeros(image.shape, bool), "adu")
        calibrations = {n: c.dataset(self.repository) for n, c in product.calibrations.items()}
        stack = isr(stack, calibrations, product.resolved.config.isr)  # type: ignore[attr-defined]
        frames = stack.frames()
        mask = assemble_array(stack.detector, frames["mask"][0].values)
        image = assemble_array(stack.detector, frames["image"][0].values)
        return Shown(image, (mask & np.uint16(_MASKED)) != 0, stack.units)

    def _planned(self, ref: DatasetRef, exposure: int) -> PlannedProduct:
        record = self.repository.registry.exposure(exposure, instrument=ref.data_id.instrument)
        facts = ref.provenance
        graph = verifying_graph(ref.type.removesuffix("_verification"), self.repository.root)
        plan = make_plan(
            self.repository,
            graph,
            exposures=[record],
            inputs=facts["inputs"],
            layers=[Layer("verification", facts["config"])],
            candidate=str(self.repository.open_dataset(ref).attrs["candidate_run"]),
        )
        for product in plan.products:
            if product.detector.id == (ref.data_id.detector or 0):
                return product
        raise UsageError(f"exposure {exposure} has no detector {ref.data_id.detector}")

    def _candidate(self, ref: DatasetRef) -> Shown:
        found = self.repository.registry.dataset(
            str(self.repository.open_dataset(ref).attrs["candidate_id"])
        )
        dataset = self.repository.open_dataset(found)
        if "image" not in dataset:
            raise UsageError(f"a {found.type} is no image", hint="`cpflow report` shows it")
        image = dataset["image"].values
        masked = np.zeros(image.shape, bool)
        if "mask" in dataset:
            masked = (dataset["mask"].values & _MASKED) != 0
        return Shown(image, masked, str(dataset["image"].attrs.get("units", "")))

    # -- pictures ---------------------------------------------------------------------------

    def figure(
        self,
        exposure: int | None = None,
        detector: int | None = None,
        *,
        view: View = "residual",
        stretch: float = 5.0,
        mask: bool = True,
    ) -> Figure:
        """Draw one exposure: its pixels, and their histogram beside a normal distribution.

        Parameters
        ----------
        exposure : int, optional
            By default the one with the smallest margin.
        detector : int, optional
            May be left out if there is one.
        view : str
        stretch : float
            Half-width of the colour scale, in standard deviations about the median.
        mask : bool
            Leave masked pixels white.
        """
        number = next(iter(self.tables)) if detector is None else detector
        chosen = self.worst(number) if exposure is None else exposure
        shown = self.shown(chosen, number, view)
        title = f"{view} of exposure {chosen}, detector {number}"
        return shown_figure(shown, title, self.failures(chosen, number), stretch, mask)

    def widget(self) -> Any:
        """Return the controls with the picture, for Jupyter.

        Raises
        ------
        UsageError
            If ipywidgets is not installed.
        """
        try:
            import ipywidgets as widgets
        except ImportError as error:
            raise UsageError(
                "controls need ipywidgets", hint="pip install 'cpflow[notebook]', or .figure()"
            ) from error
        from IPython.display import display as show

        detectors = list(self.tables)
        first = detectors[0]
        controls = {
            "detector": widgets.Dropdown(options=detectors, value=first, description="detector"),
            "exposure": widgets.Dropdown(
                options=self.exposures(first), value=self.worst(first), description="exposure"
            ),
            "view": widgets.ToggleButtons(options=VIEWS, value="residual"),
            "stretch": widgets.FloatSlider(value=5, min=1, max=20, step=1, description="sigma"),
            "mask": widgets.Checkbox(value=True, description="hide masked pixels"),
            "failed": widgets.Checkbox(value=False, description="only failures"),
        }
        picture = widgets.Output()

        def options_changed(_: Any = None) -> None:
            detector = controls["detector"].value
            known = self.exposures(detector, failed=controls["failed"].value)
            controls["exposure"].options = known or self.exposures(detector)

        def draw(_: Any = None) -> None:
            picture.clear_output(wait=True)
            with picture:
                show(  # type: ignore[no-untyped-call]
                    self.figure(
                        controls["exposure"].value,
                        controls["detector"].value,
                        view=controls["view"].value,
                        stretch=controls["stretch"].value,
                        mask=controls["mask"].value,
                    )
                )

        for name in ("detector", "failed"):
            controls[name].observe(options_changed, names="value")
        for name in ("exposure", "detector", "view", "stretch", "mask"):
            controls[name].observe(draw, names="value")
        draw()
        above = widgets.HBox([controls[n] for n in ("detector", "exposure", "failed")])
        below = widgets.HBox([controls[n] for n in ("view", "stretch", "mask")])
        return widgets.VBox([above, below, picture])

    def _ipython_display_(self) -> None:
        from IPython.display import display as show

        try:
            show(self.widget())  # type: ignore[no-untyped-call]
        except UsageError:
            show(self.figure())  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        count = sum(len(self.exposures(detector)) for detector in self.tables)
        return f"<ResidualBrowser: {count} exposures of {len(self.tables)} detectors>"


def shown_figure(
    shown: Shown, title: str, failures: Sequence[str], stretch: float, mask: bool
) -> Figure:
    """Draw pixels and their histogram."""
    from matplotlib.figure import Figure

    good = shown.image[~shown.masked & np.isfinite(shown.image)]
    quartiles = np.percentile(good, [25, 50, 75]) if good.size else np.array([0.0, 0.0, 1.0])
    median = float(quartiles[1])
    sigma = float(0.7413 * (quartiles[2] - quartiles[0])) or 1.0
    image = np.where(shown.masked, np.nan, shown.image) if mask else shown.image
    small, factor = shrink(image)
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.3, 1])
    figure.suptitle(title)
    low, high = median - stretch * sigma, median + stretch * sigma
    rows, columns = shown.image.shape
    drawn = left.imshow(
        small,
        origin="lower",
        cmap="gray",
        vmin=low,
        vmax=high,
        extent=(-0.5, columns - 0.5, -0.5, rows - 0.5),
        interpolation="nearest",
    )
    binned = "" if factor == 1 else f", means of {factor} x {factor}"
    figure.colorbar(drawn, ax=left, label=f"{shown.units}{binned}", shrink=0.8)
    edges = np.linspace(low, high, 101)
    right.hist(good, bins=edges, histtype="step", color="black", label="pixels")
    middle = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-0.5 * ((middle - median) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    right.plot(middle, normal * good.size * (edges[1] - edges[0]), color="#D55E00", label="normal")
    right.set_yscale("log")
    right.set_ylim(bottom=0.5)
    right.set_xlabel(shown.units)
    right.set_ylabel("pixels")
    right.legend(loc="upper right")
    text = "\n".join([f"fails {len(failures)} tests", *failures[:8]]) if failures else "passes"
    right.set_title(text, fontsize="small", loc="left")
    return figure


def residual_browser(repository: Repository, run: str) -> ResidualBrowser:
    """Return the browser of the newest verification in a run or chain.

    Raises
    ------
    UsageError
        If it holds none.
    """
    refs = [
        ref
        for ref in repository.registry.datasets("*", collections=[run], find_first=False)
        if ref.type.endswith("_verification")
    ]
    newest = tuple(ref for ref in refs if ref.run == refs[0].run)
    if not newest:
        raise UsageError(
            f"{run} holds no verification", hint="make one: cpflow run -p verify/bias ..."
        )
    return ResidualBrowser(repository, newest)
