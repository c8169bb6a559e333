"""`Repo`: a repository with everything a notebook or a script does to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.errors import UsageError
from cpflow.exposure import Exposure
from cpflow.graph import Layer, load_graph, load_layer, verifying_graph
from cpflow.graph.config import flatten
from cpflow.interactive import run_interactively
from cpflow.plan import DEFAULT_TASK_MEMORY, Plan, make_plan
from cpflow.products import VERIFIED, product_name
from cpflow.repo import Repository
from cpflow.scheduler import Run
from cpflow.timespan import Timespan, parse_date

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.registry import Certification, DatasetRef, Explanation, Removal, Waiver
    from cpflow.repo.curated import CuratedReport
    from cpflow.repo.ingest import IngestReport
    from cpflow.report.comparison import Comparison
    from cpflow.report.validity import Validity
    from cpflow.report.verification import VerificationReport

_WALK = ("pass_fraction", "min_exposures", "max_bad_nights", "max_gap_days", "open_end")
logger = logging.getLogger(__name__)


class Repo(Repository):
    """A repository as a notebook holds it.

    Examples
    --------
    >>> repo = Repo("repo")                                              # doctest: +SKIP
    >>> biases = repo.exposures("observation_type='bias'").sample(50)    # doctest: +SKIP
    >>> plan = repo.plan("bias", biases)                                 # doctest: +SKIP
    >>> run = plan.run()                                                 # doctest: +SKIP
    >>> repo.certify(run, "LATISS/calib/DM-1", begin="2021-01-01")       # doctest: +SKIP
    """

    def ingest(self, *paths: str | Path, **options: Any) -> IngestReport:
        """Ingest raw frames; see `cpflow.repo.ingest.ingest` for the options."""
        from cpflow.repo.ingest import ingest

        return ingest(self, paths, **options)

    def plan(
        self,
        graph: str,
        exposures: str | Sequence[Exposure] = "",
        *,
        inputs: str | Sequence[str] = (),
        config: Mapping[str, Any] | Layer | None = None,
        config_files: Sequence[str | Path] = (),
        drop_bad: int = 0,
        task_memory: int = DEFAULT_TASK_MEMORY,
        band_rows: int | None = None,
        candidate: str | None = None,
    ) -> Plan:
        """Plan a run of a graph. Nothing is read or computed.

        Parameters
        ----------
        graph : str
            Name of a graph, or path of a graph file.
        exposures : str or sequence of Exposure
            A data query, or the exposures themselves.
        inputs : str or sequence of str
            Collections in search order.
        config : mapping or Layer, optional
            Values as ``{"isr.defect": False}``.
        config_files : sequence of path
            YAML files of values; later ones win, and `config` wins over all.
        drop_bad : int
            How many unusable exposures each product may leave out.
        task_memory : int
            Bytes that one task may hold.
        band_rows : int, optional
            Rows of a band, instead of what fits into `task_memory`.
        candidate : str, optional
            Collection with the product that a verification is of.

        Raises
        ------
        NoDataError, ConfigurationError, QueryError, CalibrationLookupError
        """
        layers = [load_layer(path) for path in config_files]
        if isinstance(config, Layer):
            layers.append(config)
        elif config:
            layers.append(Layer("config", flatten(config)))
        query = exposures if isinstance(exposures, str) else ""
        return make_plan(
            self,
            load_graph(graph, self.root),
            query,
            exposures=None if isinstance(exposures, str) else exposures,
            inputs=_names(inputs),
            layers=layers,
            drop_bad=drop_bad,
            task_memory=task_memory,
            band_rows=band_rows,
            candidate=candidate,
            runner=run_interactively,
        )

    def certify(
        self,
        source: Run | str,
        collection: str,
        types: str | Sequence[str] | None = None,
        *,
        begin: str | None = None,
        end: str | None = None,
        replace: bool = False,
        where: str | None = None,
        search_all_inputs: bool = False,
        allow_incomplete: bool = False,
        reason: str | None = None,
    ) -> list[Certification]:
        """Certify the products of a run for a span of time.

        Parameters
        ----------
        source : Run or str
            A run, or the name of a RUN or chain.
        collection : str
            CALIBRATION collection; made if it does not exist.
        types : str or sequence of str, optional
            Product types; by default those of the run.
        begin, end : str, optional
            Dates, TAI; open where left out. The span is half-open: `end` is not in it.
        replace : bool
            Take the span away from what holds it now, in the same transaction.
        where : str, optional
            Restrict the products by a data query.
        search_all_inputs, allow_incomplete : bool
            Search a whole chain, not its first child; take a run that did not complete.
        reason : str, optional
            Recorded with the certification; lets products pass that are not verified where the
            repository's policy requires it.

        Raises
        ------
        ConflictError
            If something else holds a part of the span.
        VerificationError
            If the policy requires a verification that passes, and there is none, and no reason.
        """
        from cpflow.repo.certify import certify

        name = source if isinstance(source, str) else source.name
        if types is None:
            if isinstance(source, str):
                raise UsageError("name the product types to certify", hint="types='bias'")
            types = sorted({ref.type for ref in source.datasets})
        return certify(
            self,
            name,
            collection,
            [product_name(kind) for kind in _names(types)],
            timespan(begin, end),
            where=where,
            search_all_inputs=search_all_inputs,
            allow_incomplete=allow_incomplete,
            replace=replace,
            reason=reason,
        )

    def waive(self, product: str, test: str, *, until: str | None = None, **options: Any) -> Waiver:
        """Document a failed test of a product, so that it counts as waived, never as passed.

        Parameters
        ----------
        product, test : str
            Product type, and the exact name of the test.
        until : str, optional
            Date, TAI, from which on it does not count; never, if it is left out.
        options
            ``category`` and ``comment``, which it needs, and what it is restricted to: see
            `cpflow.repo.waivers.waive`.
        """
        from cpflow.repo.waivers import waive

        return waive(self, product, test, expires=timespan(None, until).end, **options)

    def waivers(self, product: str | None = None, *, history: bool = False) -> list[Waiver]:
        """Return the waivers in force, oldest first; with `history`, all that ever were."""
        return self.registry.waivers(product, history=history)

    def unwaive(self, waiver: Waiver | str, *, comment: str, author: str | None = None) -> Waiver:
        """Take a waiver back, by itself or its id; it stays in the history."""
        import getpass

        return self.registry.revoke_waiver(
            waiver if isinstance(waiver, str) else waiver.id,
            author=getpass.getuser() if author is None else author,
            comment=comment,
        )

    def decertify(
        self,
        collection: str,
        product: str,
        *,
        begin: str | None = None,
        end: str | None = None,
        **options: Any,
    ) -> tuple[list[Certification], list[Certification]]:
        """Take a span of time away from what is certified; return the rows before and after.

        Dates are as for `certify`; see `cpflow.repo.in_force.decertify` for the options.
        """
        from cpflow.repo.in_force import decertify

        return decertify(self, collection, product, timespan(begin, end), **options)

    def certified(
        self, collection: str, types: str | Sequence[str] | None = None
    ) -> list[Certification]:
        """Return what a collection has in force, by type, data id and begin."""
        return self.registry.certified(collection, None if types is None else _names(types))

    def explain(
        self, exposure: int, detector: int | None = None, **options: Any
    ) -> list[Explanation]:
        """Show which calibrations apply to an exposure, and why the others do not.

        See `cpflow.repo.in_force.explain` for the options.
        """
        from cpflow.repo.in_force import explain

        return explain(self, exposure, detector, **options)

    def compare(
        self, new: Run | str, old: Run | str | None = None, *, product: str | None = None
    ) -> Comparison:
        """Compare a product with another, or with what is certified for its exposures.

        Parameters
        ----------
        new, old : Run or str
            Runs, or names of RUNs or chains.
        product : str, optional
            Product type, if the run has several.
        """
        from cpflow.report.comparison import compare

        names = [one if isinstance(one, str) else one.name for one in (new, old) if one is not None]
        refs = [self._one_type(name, product) for name in names]
        return compare(self, refs[0], refs[1] if old is not None else None)

    def validity(
        self,
        source: Run | str,
        exposures: str | Sequence[Exposure],
        *,
        product: str | None = None,
        inputs: str | Sequence[str] = (),
        config: Mapping[str, Any] | Layer | None = None,
        output: str | None = None,
        **options: Any,
    ) -> Validity:
        """Verify a product with exposures of other nights; propose from when to when it holds.

        Parameters
        ----------
        source : Run or str
            A run, or the name of a RUN or chain, with the product.
        exposures : str or sequence of Exposure
            A data query, or the exposures themselves.
        product : str, optional
            Product type, if the run has several.
        inputs, config
            As for `plan`.
        output : str, optional
            Output chain of the verification.
        options
            Of `cpflow.verify.validity.ValidityOptions`, and of `Plan.run`.
        """
        from cpflow.report.validity import validity_of
        from cpflow.verify.validity import ValidityOptions

        name = source if isinstance(source, str) else source.name
        limits = {key: options.pop(key) for key in tuple(options) if key in _WALK}
        ref = self._one_type(name, product)
        plan = self.plan(
            verifying_graph(ref.type, self.root).name,
            exposures,
            inputs=inputs,
            config=config,
            candidate=name,
        )
        run = plan.run(output=output, **options)
        return validity_of(self, ref, run, ValidityOptions(**limits))

    def verification(
        self, source: Run | str, product: str | None = None, **options: Any
    ) -> VerificationReport:
        """Return the verifications of a run, or of its products: table, verdict, and page.

        Parameters
        ----------
        source : Run or str
            A run, or the name of a RUN or chain.
        product : str, optional
            Product type, if the run has several.
        options
            ``detector``, ``instrument``, ``physical_filter`` and ``at``: see
            `cpflow.report.verification.verification_report`.
        """
        from cpflow.report.verification import verification_report

        name = source if isinstance(source, str) else source.name
        return verification_report(self, name, product, **options)

    def _one_type(self, run: str, product: str | None) -> DatasetRef:
        """Return the first product of a run, which has to have one type, or that of a type."""
        found = self.registry.datasets(
            "*" if product is None else product_name(product), collections=[run]
        )
        refs = {ref.type: ref for ref in reversed(found) if ref.type in VERIFIED}
        if len(refs) != 1:
            raise UsageError(
                f"{run} has products of the types {', '.join(sorted(refs)) or 'none'} that can be "
                "verified",
                hint="name one of them with product, or --product",
            )
        return next(iter(refs.values()))

    def mosaic(
        self,
        product: str,
        *,
        collections: str | Sequence[str],
        physical_filter: str | None = None,
        binning: int = 64,
        **options: Any,
    ) -> xr.Dataset:
        """Return the binned images of all detectors at their places in the focal plane.

        See `cpflow.report.mosaic.mosaic_of` for the options, and `cpflow.report.mosaic.mosaic` for
        what is returned.
        """
        from cpflow.report.mosaic import mosaic_of

        return mosaic_of(
            self,
            product,
            collections=_names(collections),
            physical_filter=physical_filter,
            binning=binning,
            **options,
        )

    def write_curated(self, directory: str | Path, **options: Any) -> CuratedReport:
        """Certify curated ECSV files; see `cpflow.repo.curated.write_curated`."""
        from cpflow.repo.curated import write_curated

        return write_curated(self, directory, **options)

    def remove_runs(self, patterns: str | Sequence[str], **options: Any) -> Removal:
        """Remove runs with their files; see `cpflow.repo.removal.remove_runs`."""
        from cpflow.repo.removal import remove_runs

        return remove_runs(self, patterns, **options)

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def timespan(begin: str | None, end: str | None) -> Timespan:
    """Return the half-open span between two dates; what is left out is open.

    Raises
    ------
    UsageError
        If a date cannot be read, or the span is empty.
    """
    bounds: list[int | None] = []
    for text in (begin, end):
        if text is None:
            bounds.append(None)
            continue
        try:
            parsed = parse_date(text)
        except ValueError as error:
            raise UsageError(
                str(error),
                hint="write 2021-07-15, or 2021-07-15T12:00:00, in TAI; what is left out is open",
            ) from error
        if parsed.note:
            logger.warning("%s", parsed.note)
        bounds.append(parsed.tai)
    span = Timespan(*bounds)
    if span.is_empty:
        raise UsageError(f"the span from {begin} to {end} is empty", hint="begin comes before end")
    if bounds[0] is not None and bounds[0] == bounds[1]:
        logger.warning("the span is one nanosecond: it begins and ends at %s", begin)
    return span


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        return tuple(part.strip() for part in names.split(",") if part.strip())
    return tuple(names)
