"""What a product costs, read off its lazy graph before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dask.core import flatten

from cpflow.camera import Detector
from cpflow.plan.memory import band_memory, finish_memory, frame_memory, kept_memory
from cpflow.stack.graph import block, needed, nodes_of, own_layers, together_layers

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.plan.product import PlannedProduct


@dataclass(frozen=True, slots=True)
class Facts:
    """What a product will cost, before anything runs. Sizes in bytes."""

    exposures: int
    bands: int
    band_rows: int
    tasks: int
    bytes_to_read: int
    task_memory: int
    finish_memory: int
    kept_memory: int
    """Of all measurements, which wait until the last band is done."""
    frame_memory: int = 0
    """Of the tasks that look at whole frames, whatever the height of bands."""
    halo: int = 0
    images: int = 0
    """Rows beside a band that its task reads, and calibrations that it takes."""

    def at(self, detector: Detector, band_rows: int) -> Facts:
        """Return what tasks would take with bands of another height; the rest stays as it is."""
        band = 0
        if self.bands:
            band = band_memory(
                detector, self.exposures, band_rows, halo=self.halo, images=self.images
            )
        return replace(
            self,
            band_rows=band_rows,
            task_memory=max(band, self.frame_memory),
            finish_memory=finish_memory(detector, band_rows),
        )


@dataclass(frozen=True, slots=True)
class Together:
    """What a solution over several detectors costs, for all products that take it.

    `parts` are the detectors' shares of it, of which some are computed at a time.
    """

    key: str
    parts: int
    tasks: int
    bytes_to_read: int
    kinds: Mapping[str, int]


def task_keys(dataset: xr.Dataset) -> list[Any]:
    """Return the keys of the tasks that a lazy dataset takes when a run writes it.

    Without those of solutions that other products share.
    """
    graph: Any = dataset.__dask_graph__()  # type: ignore[no-untyped-call]
    arguments = (
        block(variable.data, key)
        for variable in dataset.data_vars.values()
        if hasattr(variable.data, "__dask_keys__")
        for key in flatten(variable.data.__dask_keys__())
    )
    return list(needed(nodes_of(own_layers(graph)), arguments))


def kind_of(key: Any) -> str:
    """Return what a task does, from its key: "measure-readout", "combine-band", "rows-bias"."""
    words = str(key[0] if isinstance(key, tuple) else key).split("-")
    return "-".join(words[:2]) if words[0] in _OF_TWO or "band" in words[1:2] else words[0]


_OF_TWO = ("measure", "rows", "pair", "solve", "gather", "load", "read")


def facts_of(product: PlannedProduct) -> Facts:
    """Return tasks, bytes to read and peak memory, all of it read off the lazy graph."""
    dataset = product.dataset
    keys = [str(key) for key in task_keys(dataset)]
    banded = "image" in dataset and dataset["image"].dims == ("amp", "y", "x")
    exposures, detector = len(product.raws), product.detector
    own = {e.exposure for e, _ in product.raws}
    measures = [key.rsplit("-", 2) for key in keys if key.startswith("measure-")]
    # A pair is two frames.
    measures += 2 * [key.rsplit("-", 2) for key in keys if key.startswith("pair-")]
    measures = [key for key in measures if int(key[1]) in own]
    whole, height = detector.imaging_shape[0], product.stack.band_rows
    widest = height
    of_band: set[tuple[str, str]] = set()
    of_frame: set[tuple[str, str]] = set()
    for key in keys:
        if key.startswith("rows-"):
            name, start, stop, token = key.rsplit("-", 3)
            widest = max(widest, int(stop) - int(start)) if stop != str(whole) else widest
            is_whole = int(stop) - int(start) == whole
            (of_frame if is_whole else of_band).add((name, token))
    images = len(of_band or of_frame)
    halo = -(-(widest - height) // 2)
    band = band_memory(detector, exposures, height, halo=halo, images=images)
    corrected = any(name != "measure-readout" for name, _, _ in measures)
    # What is found in a combined image is found in a frame without readout.
    corrected |= any(key.startswith("search-") for key in keys)
    frame = frame_memory(detector, corrected=corrected, images=len(of_frame))
    if any(key.startswith("pair-") for key in keys):
        frame += frame_memory(detector, corrected=True)
    size = sum(raw.size for _, raw in product.raws)
    heights = (v.chunks[1] for v in dataset.values() if v.dims == ("amp", "y", "x") and v.chunks)
    bands = len(next(heights, ()))
    return Facts(
        exposures=exposures,
        bands=len(product.stack.bands) if banded else 0,
        band_rows=height,
        # A write for each band, one for what is small, and one that puts the product together.
        tasks=len(keys) + bands + 2,
        # Each measurement looks at whole frames, the reduce pass at each row once more.
        bytes_to_read=size * (len(measures) + exposures * banded) // max(1, exposures),
        task_memory=max(band if banded else 0, frame if measures or corrected else 0),
        finish_memory=finish_memory(detector, height),
        kept_memory=kept_memory(detector, [name for name, _, _ in measures]),
        frame_memory=frame if measures or corrected else 0,
        halo=halo,
        images=images,
    )


def together_of(product: PlannedProduct) -> dict[str, Mapping[Any, Any]]:
    """Return the solutions over detectors that a product takes, and all tasks of each, by key."""
    graph: Any = product.dataset.__dask_graph__()  # type: ignore[no-untyped-call]
    return together_layers(graph)


def together_facts(key: str, layer: Mapping[Any, Any], product: PlannedProduct) -> Together:
    """Return what a solution over detectors costs, given one of the products that take it."""
    kinds: dict[str, int] = {}
    for task in layer:
        kinds[kind_of(task)] = kinds.get(kind_of(task), 0) + 1
    sizes = [raw.size for _, raw in product.also_from or product.raws]
    looks = sum(
        count * (2 if kind.startswith("pair-") else 1)
        for kind, count in kinds.items()
        if kind.startswith(("measure-", "pair-"))
    )
    parts = sum(bool(layer[one].dependencies) for one in layer[key].dependencies)
    return Together(key, parts, len(layer), looks * sum(sizes) // max(1, len(sizes)), kinds)
