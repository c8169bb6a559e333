"""A repository: its registry, its store, and its instruments."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cpflow.camera import Camera, Detector
from cpflow.errors import NoDataError, UsageError
from cpflow.exposure import Exposure, RawFile
from cpflow.io.instrument import Instrument, detector_from_geometry, load_instrument
from cpflow.permissions import share
from cpflow.products import DIMENSIONS, is_calibration
from cpflow.registry import DataId, DatasetRef, DatasetType, Registry
from cpflow.registry.engine import lasting_url
from cpflow.repo.config import (
    CONFIG,
    SQLITE,
    new_directory,
    read_config,
    registry_url,
    write_config,
)
from cpflow.repo.exposures import Exposures
from cpflow.repo.policy import KEY as POLICY
from cpflow.repo.policy import check_policy, policy_in
from cpflow.store import Store
from cpflow.timespan import Timespan

if TYPE_CHECKING:
    import xarray as xr

    from cpflow.repo.verdicts import Verdict

logger = logging.getLogger(__name__)


class Repository:
    """Registry and store under one root directory.

    Parameters
    ----------
    root : path
        A directory made by `create`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.config = read_config(Path(root))
        self.registry = Registry.open(self.config.get("registry") or str(self.root / SQLITE))
        self.store = Store(self.root)
        self._instruments: dict[str, Instrument] = {}

    @classmethod
    def create(
        cls,
        root: str | Path,
        instrument: str | Path | None = None,
        *,
        db: str | None = None,
        policy: str | None = None,
        shared: str | None = None,
    ) -> Repository:
        """Make a repository, or add an instrument to one that exists.

        Parameters
        ----------
        root : path
        instrument : str or path, optional
            Name of a shipped instrument, or an instrument file.
        db : str, optional
            URL of a database; by default SQLite inside the repository.
        policy : {'warn', 'require'}, optional
            Whether a product that is not verified may be certified; warn, if it is left out.
        shared : str, optional
            Group whose members build in it; see `share`.

        Raises
        ------
        UsageError
            If `root` holds something else, or has another database, or `db` is not a URL.
        InstrumentError
            If the instrument file is not sound.
        """
        loaded = None if instrument is None else load_instrument(str(instrument))
        if policy is not None:
            check_policy(policy)
        if db is not None:
            db = lasting_url(db)
        path = Path(root)
        if not (path / CONFIG).exists():
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UsageError(
                    f"{root} is {'not empty' if path.is_dir() else 'a file'} and not a cpflow "
                    "repository",
                    hint="name a new directory",
                )
            with new_directory(path):
                registry = Registry.create(db or str(path.resolve() / SQLITE))
            if db is None:
                # SQLite does not ask the umask.
                share(path / SQLITE)
            for name, dimensions in DIMENSIONS.items():
                registry.register_dataset_type(DatasetType(name, dimensions, is_calibration(name)))
            registry.close()
            # Written last: a directory is a repository once it has this file.
            write_config(path, {"version": 1, "registry": db})
        repository = cls(path)
        if db is not None and repository.config.get("registry") != db:
            raise UsageError(
                f"{root} exists with another database",
                hint="leave --db out, or name a new directory",
            )
        if policy is not None:
            repository.set_policy(policy)
        if loaded is not None:
            repository.register_instrument(loaded)
        if shared is not None:
            repository.share(shared)
        return repository

    @classmethod
    def upgrade(cls, root: str | Path) -> tuple[str, str]:
        """Bring a repository of an older cpflow up to date, in place.

        Returns
        -------
        tuple of str
            The version of the registry's schema before and after.
        """
        path = Path(root).resolve()
        url = registry_url(path)
        before, after = Registry.upgrade(url)
        with Registry.open(url) as registry:
            for name, dimensions in DIMENSIONS.items():
                registry.register_dataset_type(DatasetType(name, dimensions, is_calibration(name)))
        return before, after

    @property
    def policy(self) -> str:
        """What certification does with what is not verified: warn of it, or require a reason."""
        return policy_in(self.config)

    def set_policy(self, name: str) -> None:
        """Change the policy of certification; kept in ``cpflow.yaml``."""
        config = {**read_config(self.root), POLICY: check_policy(name)}
        write_config(self.root, config)
        self.config = config

    @property
    def is_sqlite(self) -> bool:
        """Whether the registry is a file in the repository."""
        return not self.config.get("registry")

    def share(self, group: str) -> None:
        """Let a group of users build in it: what is there, and what any of them makes later.

        Parameters
        ----------
        group : str
            Name or number of a Unix group. Roles of a database are another matter.

        Raises
        ------
        UsageError
            If there is no such group.
        AccessError
            If the user may not: only the owner can, who must be in it.
        """
        from cpflow.repo.sharing import share_with

        left = share_with(self.root, group, sqlite=self.is_sqlite)
        if left:
            logger.warning(
                "%d files and directories belong to others, who have to share them, the first is "
                "%s; their owners run the same command, or root does",
                len(left),
                left[0],
            )

    def check_writable(self, runs: Sequence[str] = ()) -> None:
        """Refuse a repository that the user may only read, before anything is computed.

        Raises
        ------
        AccessError
            If files, or the registry, may not be written.
        """
        self.store.check_writable(runs)
        self.registry.check_writable()

    def close(self) -> None:
        """Give back database connections."""
        self.registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # -- instruments ------------------------------------------------------------------------

    def register_instrument(self, instrument: Instrument, *, update: bool = False) -> None:
        """Store an instrument's definition; the same again changes nothing."""
        self.registry.register_instrument(
            instrument.name, instrument.definition, instrument.source, update=update
        )
        for detector in instrument.camera.detectors:
            self.registry.register_detector(instrument.name, detector.id, detector.name)

    def instrument(self, name: str | None = None) -> Instrument:
        """Return an instrument; the name may be left out if there is only one.

        Raises
        ------
        UsageError
            If there is none of that name.
        """
        if name is None:
            names = self.registry.instruments()
            if len(names) != 1:
                raise UsageError(
                    f"the repository has {len(names)} instruments: {', '.join(names) or 'none'}",
                    hint="name one, or add one: cpflow init REPO --instrument NAME",
                )
            name = names[0]
        if name not in self._instruments:
            self._instruments[name] = Instrument.from_definition(self.registry.instrument(name))
        return self._instruments[name]

    def detector(self, instrument: str, number: int) -> Detector:
        """Return a detector; one that only headers describe comes from what was ingested first."""
        camera = self.instrument(instrument).camera
        if camera.detectors:
            return camera.detector(number)
        for record in self.registry.detectors(instrument):
            if record.id == number and record.geometry is not None:
                return detector_from_geometry(record.geometry)
        return camera.detector(number)

    def camera(self, instrument: str | None = None) -> Camera:
        """Return the camera of an instrument."""
        found = self.instrument(instrument)
        if found.camera.detectors:
            return found.camera
        numbers = [r.id for r in self.registry.detectors(found.name) if r.geometry is not None]
        return Camera(found.name, tuple(self.detector(found.name, number) for number in numbers))

    # -- exposures --------------------------------------------------------------------------

    def exposures(self, where: str = "", **options: Any) -> Exposures:
        """Return the exposures that a data query selects."""
        records = self.registry.exposures(where, **options)
        return Exposures(tuple(sorted(records, key=lambda e: (e.instrument, e.exposure))))

    def select(
        self,
        query: str,
        *,
        collections: Sequence[str] = (),
        exposures: Sequence[Exposure] | None = None,
    ) -> list[tuple[Exposure, RawFile]]:
        """Return the raw frames that a query selects in some collections."""
        selected = self.registry.select(query, collections=list(collections) or None)
        if exposures is None:
            return selected
        wanted = {(e.instrument, e.exposure) for e in exposures}
        return [pair for pair in selected if (pair[0].instrument, pair[0].exposure) in wanted]

    def explain_empty(self, query: str, collections: Sequence[str]) -> str:
        """Say at which step the inputs of a run fell to zero."""
        records = self.registry.exposures(query)
        if not records:
            total = len(self.registry.exposures(""))
            return f"the query selects none of the {total} exposures in the repository: {query}"
        return (
            f"the query selects {len(records)} exposures, but none of them has a raw frame in "
            f"{', '.join(collections)} that it lets through"
        )

    def default_inputs(self) -> tuple[str, ...]:
        """Return the collections that a run searches if it names none: raws, then calibrations."""
        names: list[str] = []
        existing = set(self.registry.collection_names())
        for instrument in self.registry.instruments():
            names += [f"{instrument}/raw/all", f"{instrument}/calib"]
        found = tuple(name for name in names if name in existing)
        if not found:
            raise NoDataError(
                "nothing has been ingested", hint="ingest raw frames: cpflow ingest REPO PATH..."
            )
        return found

    def search_path(self, inputs: Sequence[str]) -> tuple[str, ...]:
        """Return the collections that a run searches.

        An instrument's ``<instrument>/calib`` may be named before anything is certified: it is
        empty then.
        """
        if not inputs:
            return self.default_inputs()
        existing = set(self.registry.collection_names())
        usual = {f"{instrument}/calib" for instrument in self.registry.instruments()}
        missing = [name for name in inputs if name in usual - existing]
        for name in missing:
            logger.info("%s does not exist yet: nothing is certified there", name)
        return tuple(name for name in inputs if name not in missing)

    # -- products ---------------------------------------------------------------------------

    def calibrations(
        self, product: str, exposures: Sequence[Exposure], detector: int, path: Sequence[str]
    ) -> list[DatasetRef | None]:
        """Return the calibration that each of these exposures takes at its time, or None.

        Raises
        ------
        AmbiguousCalibrationError
            If one exposure takes several.
        """
        found = self.registry.find_for_exposures(product, exposures, detector, path)
        return [found[e.exposure] for e in exposures]

    def open_dataset(self, ref: DatasetRef) -> xr.Dataset:
        """Open a product lazily."""
        from cpflow.io.zarr_product import open_product

        return open_product(self.store.absolute(ref.path))

    def find(
        self,
        product: str,
        *,
        collections: str | Sequence[str],
        detector: int | None = None,
        instrument: str | None = None,
        physical_filter: str | None = None,
        exposure: int | None = None,
    ) -> DatasetRef | None:
        """Find a product by certification at an exposure's time, or straight in a RUN.

        Parameters
        ----------
        product : str
        collections : str or sequence of str
            Searched in this order.
        detector : int, optional
        instrument : str, optional
            May be left out if there is only one.
        physical_filter : str, optional
            Taken from the exposure if that is given.
        exposure : int, optional
            Certified calibrations are only found with one.
        """
        from cpflow.products import product_name

        path = [collections] if isinstance(collections, str) else list(collections)
        name = self.instrument(instrument).name
        timespan: Timespan | None = None
        if exposure is not None:
            record = self.registry.exposure(exposure, instrument=name)
            timespan = record.timespan
            physical_filter = physical_filter or record.physical_filter
        data_id = DataId(name, detector, physical_filter)
        return self.registry.find(product_name(product), data_id, path, timespan)

    def get(self, product: str, **where: Any) -> xr.Dataset:
        """Return a product as a lazy dataset; see `find` for how to name it.

        Raises
        ------
        MissingCalibrationError
            If there is none.
        """
        from cpflow.errors import MissingCalibrationError

        ref = self.find(product, **where)
        if ref is None:
            named = ", ".join(f"{key}={value!r}" for key, value in where.items())
            raise MissingCalibrationError(
                f"no {product} for {named}",
                hint="`cpflow explain REPO EXPOSURE` shows which calibrations apply, and why",
            )
        return self.open_dataset(ref)

    def verdict_of(self, ref: DatasetRef) -> Verdict:
        """Return what the newest verification of a product comes to, waivers applied."""
        from cpflow.repo.verdicts import verdict_of

        return verdict_of(self, ref)

    def __repr__(self) -> str:
        instruments = ", ".join(self.registry.instruments()) or "no instrument"
        return f"<{type(self).__name__} {self.root}: {instruments}>"
