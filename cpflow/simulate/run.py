"""Simulate a sequence: one task per exposure and detector."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dask
import xarray as xr
from dask.callbacks import Callback

from cpflow.camera import Detector
from cpflow.errors import InstrumentError, NoDataError
from cpflow.simulate.digitise import Counts
from cpflow.simulate.exposure import expose
from cpflow.simulate.facts import exposure_facts
from cpflow.simulate.fits_writer import Card, write_raw
from cpflow.simulate.flatfield import radius_of
from cpflow.simulate.geometry import to_file
from cpflow.simulate.headers import file_name, image_cards, primary_cards
from cpflow.simulate.sequence import Observation, Sequence
from cpflow.simulate.truth import DetectorCache, Truth
from cpflow.simulate.truth_store import check_same_camera, open_truth, write_truth
from cpflow.timespan import isoformat

if TYPE_CHECKING:
    from cpflow.io.instrument import Instrument

log = logging.getLogger(__name__)

_detectors = DetectorCache()


@dataclass(frozen=True)
class Simulation:
    """What a simulation has written."""

    instrument: str
    paths: tuple[Path, ...]
    """Raw files, in the order of the sequence; detectors of one exposure side by side."""
    exposures: tuple[int, ...]
    """``day_obs * 100000 + seq_num`` of each observation."""
    truth: Path

    def open_truth(self) -> xr.DataTree:
        """Open the truth (`cpflow.simulate.open_truth`)."""
        return open_truth(self.truth)

    def __repr__(self) -> str:
        return f"<Simulation {self.instrument}: {self._files} in {self.truth.parent}>"

    def _repr_html_(self) -> str:
        rows = (("files", self._files), ("directory", self.truth.parent), ("truth", self.truth))
        cells = "".join(f"<tr><th>{n}</th><td>{escape(str(v))}</td></tr>" for n, v in rows)
        return f"<b>Simulation of {escape(self.instrument)}</b><table>{cells}</table>"

    @property
    def _files(self) -> str:
        return f"{len(self.paths)} files of {len(self.exposures)} exposures"


def simulate(
    out: str | Path,
    instrument: Instrument,
    sequence: Sequence,
    *,
    seed: int = 1,
    compress: Literal["none", "rice"] = "none",
    truth: Truth | None = None,
    progress: Callable[[int, int], None] | None = None,
    scheduler: Literal["threads", "processes", "synchronous"] = "threads",
    workers: int | None = None,
) -> Simulation:
    """Write the raw files of a sequence, and the truth beside them.

    The same instrument, sequence, truth and seed give the same bits, whatever the scheduler and the
    number of workers, and whether an exposure is simulated alone or among others.

    Parameters
    ----------
    out : Path
        Directory for the raw files and ``truth.zarr``; created if need be. Exposures of the same
        camera that it already holds are kept.
    instrument : Instrument
        The camera (`cpflow.io.instrument.load_instrument`, or `scaled`).
    sequence : Sequence
        What is observed.
    seed : int, optional
        Everything random follows from it.
    compress : {'none', 'rice'}, optional
        Plain FITS, or RICE_1 in tiles of one row.
    truth : Truth, optional
        The effects of the camera; by default those of the sequence.
    progress : callable, optional
        Called with the number of files written and their total, after each.
    scheduler : {'threads', 'processes', 'synchronous'}, optional
        Which of Dask's local schedulers does the work.
    workers : int, optional
        Threads or processes; by default one per core.

    Returns
    -------
    Simulation

    Raises
    ------
    NoDataError
        If the sequence is empty.
    InstrumentError
        If the instrument file describes no detector.
    ConfigurationError
        If `out` holds the truth of another camera.
    """
    out = Path(out)
    if not sequence.observations:
        raise NoDataError(f"{sequence.name} lists no observations")
    if not instrument.camera.detectors:
        raise InstrumentError(
            f"{instrument.name} describes no detector: its geometry is in the headers of its files",
            hint="write an instrument file with its detectors, then simulate that",
        )
    effects = truth if truth is not None else sequence.truth
    store = out / "truth.zarr"
    attributes: dict[str, str | int] = {
        "instrument": instrument.name,
        "seed": seed,
        "truth": effects.model_dump_json(),
        "camera": hashlib.sha256(repr(instrument.camera).encode()).hexdigest(),
    }
    check_same_camera(store, attributes)
    out.mkdir(parents=True, exist_ok=True)
    # One file per detector, if the headers say which; otherwise one file with all of them.
    apart = bool(instrument.rules.detector) or len(instrument.camera.detectors) == 1
    detectors = instrument.camera.detectors
    radius_mm = radius_of(detectors)
    tasks = []
    # Detector by detector, so that each is drawn once; see `DetectorCache`.
    for group in [(detector,) for detector in detectors] if apart else [detectors]:
        lone = group[0] if apart else None
        for observation in sequence:
            # All in one partial: Dask would search arguments for graphs, card by card.
            task = partial(
                _one_file,
                out / file_name(observation, lone, instrument, compress),
                observation,
                group,
                _headers(observation, group, lone, instrument),
                _Settings(effects, seed, instrument.name, compress, radius_mm),
            )
            lazy = dask.delayed(task, pure=False, traverse=False)
            tasks.append(lazy(dask_key_name=f"simulate-{group[0].id}-{observation.id}"))
    log.info("simulating %d files of %s in %s", len(tasks), instrument.name, out)
    with _Progress(progress, len(tasks)):
        written = dask.compute(
            *tasks, scheduler=scheduler, num_workers=workers, optimize_graph=False
        )
    count = len(sequence)
    groups: dict[str, xr.Dataset] = {}
    for detector in detectors:
        drawn = _detectors.get(effects, seed, instrument.name, detector, radius_mm)
        groups[f"detectors/{detector.id}"] = drawn
        found = [facts[detector.id] for _, facts in written if detector.id in facts]
        for kind in found[0]:
            along = "exposure" if kind == "exposures" else "entry"
            table = xr.concat([facts[kind] for facts in found], along, join="exact")
            groups[f"{kind}/{detector.id}"] = table
    write_truth(store, groups, attributes)
    paths = [path for i in range(count) for path, _ in written[i::count]]
    return Simulation(instrument.name, tuple(paths), tuple(o.id for o in sequence), store)


@dataclass(frozen=True, slots=True)
class _Settings:
    """What all files of a simulation share."""

    truth: Truth
    seed: int
    instrument: str
    compress: Literal["none", "rice"]
    radius_mm: float


def _headers(
    observation: Observation,
    detectors: tuple[Detector, ...],
    lone: Detector | None,
    instrument: Instrument,
) -> dict[int, list[Card]]:
    headers: dict[int, list[Card]] = {}
    for detector in detectors:
        names = instrument.extension_names(detector)
        for hdu in {amplifier.source.hdu for amplifier in detector}:
            amplifiers = [a for a in detector if a.source.hdu == hdu]
            headers[hdu] = image_cards(amplifiers, detector, names)
    headers[0] = primary_cards(observation, lone, instrument) + headers.get(0, [])
    return headers


def _one_file(
    path: Path,
    observation: Observation,
    detectors: tuple[Detector, ...],
    headers: dict[int, list[Card]],
    settings: _Settings,
) -> tuple[Path, dict[int, dict[str, xr.Dataset]]]:
    """Simulate and write one file; return what was peculiar to the exposure, by detector."""
    images: dict[int, Counts] = {}
    facts: dict[int, dict[str, xr.Dataset]] = {}
    seed, name = settings.seed, settings.instrument
    for detector in detectors:
        arrays = _detectors.get(settings.truth, seed, name, detector, settings.radius_mm)
        exposed = expose(observation, detector, settings.truth, arrays, seed=seed, instrument=name)
        images.update(to_file(exposed.raw, detector))
        facts[detector.id] = exposure_facts(exposed, observation, detector)
    when = isoformat(observation.timespan.end or 0)
    write_raw(path, images, headers, compress=settings.compress, when=when)
    return path, facts


class _Progress(Callback):  # type: ignore[misc] # dask has no types
    """Report each finished task of one of Dask's local schedulers."""

    def __init__(self, report: Callable[[int, int], None] | None, total: int) -> None:
        super().__init__(posttask=self._count)
        self._report = report
        self._total = total
        self._done = 0

    def _count(self, *_: object) -> None:
        self._done += 1
        if self._report is not None:
            self._report(self._done, self._total)
