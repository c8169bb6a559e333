"""Removing runs, datasets and types: decided first, done whole or not at all (spec C20 to C26)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, delete, func, select, update

from cpflow.errors import CollectionError, ConflictError, NoDataError
from cpflow.registry import schema
from cpflow.registry.certification import as_certification
from cpflow.registry.chains import unlink as unlink_from_chains
from cpflow.registry.collections import Row, matching, parent_names
from cpflow.registry.database import is_one_of, lock_chains, lock_collections
from cpflow.registry.datasets import refs_where, row_ids, type_row
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Certification, CollectionType, DatasetRef

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removal takes away, or would take away.

    `parents` are chains that hold a run, `certifications` and `tags` what points to its datasets.
    `paths` are the files of the datasets: the registry does not touch files.
    """

    runs: tuple[str, ...] = ()
    datasets: tuple[DatasetRef, ...] = ()
    raws: int = 0
    parents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    certifications: tuple[Certification, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of datasets by type."""
        counted = Counter(ref.type for ref in self.datasets)
        if self.raws:
            counted["raw"] = self.raws
        return dict(sorted(counted.items()))

    @property
    def paths(self) -> tuple[str, ...]:
        """Files of the datasets, as the registry knows them."""
        return tuple(ref.path for ref in self.datasets if ref.stored)


class Removals(RegistryPart):
    """Removing runs, datasets and dataset types."""

    def plan_run_removal(self, patterns: str | Sequence[str]) -> Removal:
        """Return what `remove_runs` would take away; changes nothing."""
        with self._db.read() as connection:
            return plan_of(connection, _runs(connection, patterns))

    def remove_runs(
        self, patterns: str | Sequence[str], *, force: bool = False, unlink: bool = False
    ) -> Removal:
        """Remove RUNs with their datasets (spec C22, C23).

        Parameters
        ----------
        patterns : str or sequence of str
            Names or globs.
        force : bool
            Although certifications or tags point to their datasets, or chains hold them: those
            go too.
        unlink : bool
            Take the runs out of the chains that hold them.

        Returns
        -------
        Removal
            What was removed; the files are left for the caller.

        Raises
        ------
        ConflictError
            If something would be lost that `force` was not given for.
        CollectionError
            If a chain holds a run.
        """
        with self._db.write() as connection:
            lock_chains(connection)
            runs = _runs(connection, patterns)
            plan = plan_of(connection, runs)
            check_allowed(plan, force=force, unlink=unlink)
            remove(connection, runs, plan)
        return plan

    def remove_datasets(
        self, datasets: Sequence[DatasetRef | str], *, force: bool = False
    ) -> Removal:
        """Remove datasets; refused without `force` while something points to them."""
        with self._db.write() as connection:
            uuids = [one if isinstance(one, str) else one.id for one in datasets]
            ids = set(row_ids(connection, uuids).values())
            plan = _dataset_plan(connection, ids)
            check_allowed(plan, force=force, unlink=False)
            _remove_datasets(connection, ids)
        return plan

    def unstore(self, datasets: Sequence[DatasetRef | str], *, force: bool = False) -> Removal:
        """Give up the files of datasets and keep their records (spec C24).

        Raises
        ------
        ConflictError
            If one is certified, and `force` is not given.
        """
        table = schema.dataset
        with self._db.write() as connection:
            uuids = [one if isinstance(one, str) else one.id for one in datasets]
            ids = set(row_ids(connection, uuids).values())
            plan = _dataset_plan(connection, ids)
            if plan.certifications and not force:
                raise ConflictError(
                    f"{len(plan.certifications)} certification(s) would find no file:"
                    f"{_listed(plan.certifications)}",
                    hint="decertify first, or use --force",
                )
            condition = is_one_of(connection, table.c.id, ids)
            connection.execute(update(table).where(condition).values(stored=False))
        return plan

    def remove_dataset_type(self, name: str) -> None:
        """Remove a dataset type that has no datasets (spec C25).

        Raises
        ------
        ConflictError
            If it has.
        """
        table, data = schema.dataset_type, schema.dataset
        with self._db.write() as connection:
            type_id, _ = type_row(connection, name)
            count = connection.scalar(
                select(func.count()).select_from(data).where(data.c.type_id == type_id)
            )
            if count:
                raise ConflictError(f"there are {count} datasets of type {name}")
            connection.execute(delete(table).where(table.c.id == type_id))


def _runs(connection: Connection, patterns: str | Sequence[str]) -> list[Row]:
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    rows = matching(connection, given)
    others = [row.name for row in rows if row.type is not CollectionType.RUN and row.name in given]
    if others:
        raise CollectionError(
            f"not a RUN: {', '.join(others)}",
            hint="'cpflow remove-collection' removes groupings; runs of a chain are named "
            f"'{others[0]}/*', in quotes",
        )
    runs = [row for row in rows if row.type is CollectionType.RUN]
    if not runs:
        raise NoDataError(f"no RUN matches {', '.join(given)}")
    return runs


def plan_of(connection: Connection, runs: Sequence[Row]) -> Removal:
    """Return what goes with some runs."""
    data, raw = schema.dataset, schema.raw
    run_ids = [row.id for row in runs]
    ids = set(
        connection.scalars(select(data.c.id).where(is_one_of(connection, data.c.run_id, run_ids)))
    )
    inside = is_one_of(connection, raw.c.run_id, run_ids)
    raws = connection.scalar(select(func.count()).select_from(raw).where(inside)) or 0
    plan = _dataset_plan(connection, ids)
    names = {row.name: parent_names(connection, row.id) for row in runs}
    return Removal(
        tuple(row.name for row in runs),
        plan.datasets,
        raws,
        {name: parents for name, parents in names.items() if parents},
        plan.certifications,
        (*plan.tags, *_raw_tags(connection, run_ids)),
    )


def _raw_tags(connection: Connection, runs: Sequence[int]) -> list[str]:
    raw, tag, table = schema.raw, schema.raw_tag, schema.collection
    rows = connection.execute(
        select(table.c.name, func.count())
        .join(tag, tag.c.collection_id == table.c.id)
        .join(raw, raw.c.id == tag.c.raw_id)
        .where(is_one_of(connection, raw.c.run_id, runs))
        .group_by(table.c.name)
        .order_by(table.c.name)
    )
    return [f"{count} raws in {name}" for name, count in rows]


def _dataset_plan(connection: Connection, ids: Collection[int]) -> Removal:
    table, tag, certified = schema.collection, schema.tag, schema.certification
    refs = refs_where(connection, is_one_of(connection, schema.dataset.c.id, ids))
    rows = connection.execute(
        select(certified, table.c.name)
        .join(table, table.c.id == certified.c.collection_id)
        .where(is_one_of(connection, certified.c.dataset_id, ids))
        .order_by(table.c.name, certified.c.type_id, certified.c.data_key, certified.c.begin_ns)
    )
    certifications = tuple(as_certification(row, row.name, refs) for row in rows)
    tags = connection.execute(
        select(table.c.name, tag.c.dataset_id)
        .join(table, table.c.id == tag.c.collection_id)
        .where(is_one_of(connection, tag.c.dataset_id, ids))
        .order_by(table.c.name)
    )
    ordered = sorted(refs.values(), key=lambda ref: (ref.run, ref.type, ref.data_id.key))
    return Removal(
        datasets=tuple(ordered),
        certifications=certifications,
        tags=tuple(f"{refs[id_]} in {name}" for name, id_ in tags),
    )


def check_allowed(plan: Removal, *, force: bool, unlink: bool) -> None:
    """Refuse a removal that would lose what was not given up (spec C20, C22).

    Raises
    ------
    CollectionError
        If a chain still holds a run.
    ConflictError
        If certifications or tags would be lost.
    """
    if force:
        return
    if plan.parents and not unlink:
        listed = "; ".join(f"{run} is in {', '.join(p)}" for run, p in plan.parents.items())
        raise CollectionError(
            f"chains still refer to what would be removed: {listed}",
            hint="take it out with 'cpflow chain REPO CHAIN RUN --mode remove', or use --unlink",
        )
    if plan.certifications or plan.tags:
        lost = [*plan.certifications, *plan.tags]
        raise ConflictError(
            f"{len(plan.certifications)} certification(s) and {len(plan.tags)} tag(s) would be "
            f"lost:{_listed(lost)}",
            hint="keep the run, or lose them with --force",
        )


def _listed(items: Sequence[object]) -> str:
    lines = [
        f"\n  {one.collection}: {one}" if isinstance(one, Certification) else f"\n  {one}"
        for one in items[:_SHOWN]
    ]
    more = f"\n  and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "".join(lines) + more


def remove(connection: Connection, runs: Sequence[Row], plan: Removal) -> None:
    """Remove runs and everything that points to their datasets."""
    data, raw, table = schema.dataset, schema.raw, schema.collection
    run_ids = [row.id for row in runs]
    lock_collections(connection, run_ids)
    unlink_from_chains(connection, run_ids)
    ids = set(
        connection.scalars(select(data.c.id).where(is_one_of(connection, data.c.run_id, run_ids)))
    )
    if len(ids) != len(plan.datasets):
        raise ConflictError("another process added datasets meanwhile", hint="try again")
    _remove_datasets(connection, ids)
    inside = is_one_of(connection, raw.c.run_id, run_ids)
    tagged = schema.raw_tag.c.raw_id.in_(select(raw.c.id).where(inside))
    connection.execute(delete(schema.raw_tag).where(tagged))
    connection.execute(delete(raw).where(inside))
    connection.execute(delete(table).where(is_one_of(connection, table.c.id, run_ids)))


def _remove_datasets(connection: Connection, ids: Iterable[int]) -> None:
    wanted = set(ids)
    for table in (schema.certification, schema.tag):
        connection.execute(delete(table).where(is_one_of(connection, table.c.dataset_id, wanted)))
    data = schema.dataset
    connection.execute(delete(data).where(is_one_of(connection, data.c.id, wanted)))
