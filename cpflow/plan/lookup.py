"""Which calibrations the exposures of a product take: certified ones, or ones of the same plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cpflow.errors import AmbiguousCalibrationError, MissingCalibrationError
from cpflow.exposure import Exposure
from cpflow.graph import Graph, GraphConfig
from cpflow.plan.promise import promised
from cpflow.products import DIMENSIONS, is_image
from cpflow.registry import DatasetRef
from cpflow.repo import Repository
from cpflow.stack import Choice

if TYPE_CHECKING:
    from cpflow.plan.product import PlannedProduct

# Without light there is nothing to divide by, or to subtract.
_OF_LIGHT = ("flat", "fringe", "sky")
_DARK_TYPES = ("bias", "dark")
# The value of ISR that says whether a calibration is wanted, where it is called otherwise.
_FLAGS = {"defects": "defect", "linearizer": "linearize", "bfk": "brighter_fatter", "ptc": "gain"}


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibrations of one type that the exposures of a product take.

    `index` tells for each exposure which of `sources` it takes; -1 for none, as a bias takes no
    flat.
    """

    sources: tuple[DatasetRef | PlannedProduct, ...]
    index: tuple[int, ...]

    def dataset(self, repository: Repository) -> Any:
        """Return what a graph gets: a lazy dataset, or a `Choice` of several."""
        opened = [
            repository.open_dataset(source) if isinstance(source, DatasetRef) else _promised(source)
            for source in self.sources
        ]
        if len(opened) == 1 and all(number == 0 for number in self.index):
            return opened[0]
        return Choice(tuple(opened), self.index)

    def __str__(self) -> str:
        return ", ".join(
            str(source) if isinstance(source, DatasetRef) else f"{source.label} (of this plan)"
            for source in self.sources
        )


def wanted(product: str, config: GraphConfig) -> bool:
    """Whether a graph's values ask for a calibration; one that no step names always is."""
    flag = getattr(getattr(config, "isr", None), _FLAGS.get(product, product), True)
    return flag == "ptc" if product == "ptc" and isinstance(flag, str) else bool(flag)


def find_calibrations(
    repository: Repository,
    graph: Graph,
    config: GraphConfig,
    exposures: Sequence[Exposure],
    detector: int,
    path: Sequence[str],
    planned: Sequence[PlannedProduct],
    candidate: str | None = None,
) -> dict[str, Calibration]:
    """Find what a graph needs for these exposures, ordered as a stack has them.

    Raises
    ------
    MissingCalibrationError
        Naming what is needed and missing.
    AmbiguousCalibrationError
        If one exposure takes several, or some take one and others none. Those of a graph without
        inputs may lack a flat, which depends on the filter.
    """
    found: dict[str, Calibration] = {}
    for need in graph.needs:
        if need.product != graph.verifies and not wanted(need.product, config):
            continue
        of_light = need.product in _OF_LIGHT
        # Exposures that are not read only say which calibrations are meant: a flat of their filter
        # too, whatever they are themselves, if there is one.
        only_named = not graph.inputs and of_light
        takers = [
            e
            for e in exposures
            if only_named or not of_light or e.observation_type not in _DARK_TYPES
        ]
        if not takers:
            continue
        verified = need.product == graph.verifies
        searched = (candidate,) if verified and candidate is not None else path
        sources = _sources(repository, need.product, takers, detector, searched, planned)
        by_exposure = dict(zip([e.exposure for e in takers], sources, strict=True))
        present = {_key(source): source for source in sources if source is not None}
        missing = [id_ for id_, source in by_exposure.items() if source is None]
        if present and missing and not only_named:
            raise AmbiguousCalibrationError(
                f"{len(missing)} of {len(takers)} exposures of detector {detector} have no "
                f"{need.product}, the others take "
                f"{', '.join(str(s) for s in present.values())}: " + ", ".join(map(str, missing)),
                hint="select exposures of one kind, or certify one for the rest",
            )
        if present:
            keys = list(present)
            index = tuple(
                -1
                if by_exposure.get(e.exposure) is None
                else keys.index(_key(by_exposure[e.exposure]))
                for e in exposures
            )
            found[need.product] = Calibration(tuple(present.values()), index)
            if verified and len(present) > 1:
                raise AmbiguousCalibrationError(
                    f"a verification is of one {need.product}, the exposures of detector "
                    f"{detector} take {', '.join(str(s) for s in present.values())}",
                    hint="name its collection with --candidate, or narrow the query",
                )
            if len(present) > 1 and not graph.inputs and not is_image(need.product):
                raise AmbiguousCalibrationError(
                    f"graph {graph.name} is made from one {need.product} of detector {detector}, "
                    f"the exposures take {', '.join(str(s) for s in present.values())}",
                    hint="narrow the query to exposures of one of them",
                )
        elif not need.optional:
            raise _missing(graph, config, need.product, takers[0].instrument, detector, searched)
    return found


def _sources(
    repository: Repository,
    product: str,
    exposures: Sequence[Exposure],
    detector: int,
    path: Sequence[str],
    planned: Sequence[PlannedProduct],
) -> list[DatasetRef | PlannedProduct | None]:
    """Return what each exposure takes: the newest of this plan, else what is certified for it."""
    by_filter = "physical_filter" in DIMENSIONS[product]
    made = {
        p.physical_filter: p for p in planned if p.type == product and p.detector.id == detector
    }
    sources: list[DatasetRef | PlannedProduct | None] = [
        made.get(e.physical_filter if by_filter else None) for e in exposures
    ]
    rest = [i for i, source in enumerate(sources) if source is None]
    # A repository of an older cpflow, not upgraded, has nothing of a type that it does not know.
    if rest and any(kind.name == product for kind in repository.registry.dataset_types()):
        certified = repository.calibrations(product, [exposures[i] for i in rest], detector, path)
        for i, ref in zip(rest, certified, strict=True):
            sources[i] = ref
    return sources


def _promised(product: PlannedProduct) -> Any:
    """Return a planned product as a calibration that tells its filter, as a finished one does."""
    dataset = promised(product)
    if product.physical_filter is None or not hasattr(dataset, "assign_attrs"):
        return dataset
    return dataset.assign_attrs(filter=product.physical_filter)


def _key(source: Any) -> str:
    return source.id if isinstance(source, DatasetRef) else str(source.token)


def _missing(
    graph: Graph,
    config: GraphConfig,
    product: str,
    instrument: str,
    detector: int,
    path: Sequence[str],
) -> MissingCalibrationError:
    flag = _FLAGS.get(product, product)
    without = ""
    if hasattr(getattr(config, "isr", None), flag):
        without = f", or do without: -c isr.{flag}={'none' if flag == 'gain' else 'false'}"
    if graph.name == f"verify/{product}":
        # It is what is verified: nothing can be done without it.
        without = ", or name what is verified: --candidate RUN"
    return MissingCalibrationError(
        f"graph {graph.name} needs a {product} for {instrument} detector {detector}, and none "
        f"holds for these exposures in {', '.join(path)}",
        hint=f"build and certify a {product}, or put its collection into -i{without}",
    )


def source_identity(source: DatasetRef | PlannedProduct) -> str:
    """Return the hash of a calibration's values, or of what will decide them."""
    return source.checksum if isinstance(source, DatasetRef) else source.token


def identity_of(calibrations: Mapping[str, Calibration]) -> dict[str, Any]:
    """Return what decides the values: hashes of the calibrations, and who takes which."""
    return {
        name: [
            [source_identity(source) for source in calibration.sources],
            list(calibration.index),
        ]
        for name, calibration in calibrations.items()
    }
