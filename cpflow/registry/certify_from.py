"""Certifying what a run made, as the command does (spec 3.6)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from cpflow.errors import CollectionError, CollectionTypeError, NoDataError, UsageError
from cpflow.registry import schema
from cpflow.registry.certification import calibration_type, certify, check_span
from cpflow.registry.chains import reach, search_path
from cpflow.registry.collections import Row, ensure, rows_by_name
from cpflow.registry.database import is_one_of
from cpflow.registry.listing import listed
from cpflow.registry.lookup import layers_of
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import Certification, CollectionType, DatasetRef, RunState
from cpflow.registry.where import Where, parse
from cpflow.timespan import Timespan

logger = logging.getLogger(__name__)


class CertifyFrom(RegistryPart):
    """Certifying what a collection holds."""

    def certify_from(
        self,
        input_collection: str,
        output_collection: str,
        types: str | Sequence[str],
        span: Timespan,
        where: str | None = None,
        *,
        search_all_inputs: bool = False,
        allow_incomplete: bool = False,
        replace: bool = False,
        instrument: str | None = None,
        binds: Mapping[str, Any] | None = None,
        verdict: str | None = None,
        reason: str | None = None,
    ) -> list[Certification]:
        """Certify all datasets of some types in a RUN, TAGGED or CHAINED collection.

        Parameters
        ----------
        input_collection : str
            Of a chain, only the first child is searched, unless `search_all_inputs` (V36).
        output_collection : str
            CALIBRATION collection; made if it is missing.
        types : str or sequence of str
            Dataset types.
        span : Timespan
            When they hold.
        where : str, optional
            Data query that restricts them.
        search_all_inputs : bool
            Search the whole chain; the first match of each data id counts.
        allow_incomplete : bool
            Take datasets of a RUN that did not complete (V37).
        replace : bool
            Take the span away from what holds it now.
        instrument, binds : optional
            As for `exposures`.
        verdict, reason : str, optional
            Recorded with each row.

        Returns
        -------
        list of Certification
            The new rows; `dataset.run` says which run each came from.

        Raises
        ------
        NoDataError
            If there is nothing to certify.
        CollectionError
            If a collection is of the wrong type or a run did not complete.
        ConflictError
            If something else holds a part of the span.
        """
        check_span(span)
        wanted, parsed = _wanted(types), parse(where or "")
        with self._db.write() as connection:
            refs = _chosen(
                connection,
                input_collection,
                wanted,
                parsed,
                search_all_inputs=search_all_inputs,
                allow_incomplete=allow_incomplete,
                instrument=instrument,
                binds=binds,
            )
            output, _ = ensure(connection, output_collection, CollectionType.CALIBRATION)
            rows = certify(
                connection,
                output,
                refs,
                span,
                replace=replace,
                verdict=verdict,
                reason=reason,
            )
        runs = sorted({row.dataset.run for row in rows})
        logger.info("certified %d datasets of %s", len(rows), ", ".join(runs))
        return rows

    def to_certify(
        self,
        input_collection: str,
        types: str | Sequence[str],
        where: str | None = None,
        *,
        search_all_inputs: bool = False,
        allow_incomplete: bool = False,
        instrument: str | None = None,
        binds: Mapping[str, Any] | None = None,
    ) -> list[DatasetRef]:
        """Return what `certify_from` would certify, so that it can be looked at before.

        Raises
        ------
        NoDataError
            If there is nothing to certify.
        CollectionError
            If the collection is of the wrong type or a run did not complete.
        """
        wanted, parsed = _wanted(types), parse(where or "")
        with self._db.read() as connection:
            return _chosen(
                connection,
                input_collection,
                wanted,
                parsed,
                search_all_inputs=search_all_inputs,
                allow_incomplete=allow_incomplete,
                instrument=instrument,
                binds=binds,
            )


def _wanted(types: str | Sequence[str]) -> list[str]:
    wanted = [types] if isinstance(types, str) else list(dict.fromkeys(types))
    if not wanted:
        raise UsageError("name the types to certify")
    return wanted


def _chosen(
    connection: Connection,
    name: str,
    types: Sequence[str],
    where: Where,
    *,
    search_all_inputs: bool,
    allow_incomplete: bool,
    instrument: str | None,
    binds: Mapping[str, Any] | None,
) -> list[DatasetRef]:
    """Return the datasets to certify, inside a transaction; see `CertifyFrom.certify_from`."""
    for one in types:
        calibration_type(connection, one)
    path = _input_path(connection, name, search_all_inputs)
    if not allow_incomplete:
        _check_first(path, name, search_all_inputs)
    ids = _first_matches(connection, types, path)
    condition = is_one_of(connection, schema.dataset.c.id, ids)
    found = listed(connection, where, [condition], types, instrument=instrument, binds=binds)
    refs = list(found.values())
    _check_found(types, refs, path, name, where.text)
    if not allow_incomplete:
        _check_complete(path, refs)
    return refs


def _input_path(connection: Connection, name: str, search_all: bool) -> list[Row]:
    row = rows_by_name(connection, [name])[name]
    if row.type is CollectionType.CALIBRATION:
        raise CollectionTypeError(
            f"{name} is a CALIBRATION collection, and one does not certify from one to another",
            hint="name the run, or put the collection in a chain with 'cpflow chain'",
        )
    if row.type is CollectionType.CHAINED:
        below = reach(connection, [row.id])
        direct = below.children.get(row.id, ())
        if not direct:
            raise NoDataError(f"{name} is an empty chain: nothing to certify")
        start = direct if search_all else direct[:1]
        path = below.flatten(start)
    else:
        path = search_path(connection, [name])
    # Calibrations that served as inputs of a run stand behind it in its chain.
    usable = [one for one in path if one.type is not CollectionType.CALIBRATION]
    if not usable:
        raise CollectionTypeError(
            f"{name} leads to CALIBRATION collections only: {', '.join(r.name for r in path)}"
            if path
            else f"{name} leads to no datasets: nothing to certify"
        )
    return usable


def _check_first(path: Sequence[Row], name: str, search_all: bool) -> None:
    """Refuse a first child that did not complete before saying that it is empty (V37)."""
    if not search_all and len(path) == 1:
        _refuse_incomplete(path, name)


def _check_complete(path: Sequence[Row], refs: Sequence[DatasetRef]) -> None:
    # A TAGGED collection is a choice that somebody made, dataset by dataset.
    runs = {ref.run for ref in refs}
    _refuse_incomplete([row for row in path if row.name in runs], None)


def _refuse_incomplete(rows: Sequence[Row], within: str | None) -> None:
    for row in rows:
        if row.state not in (None, RunState.COMPLETE):
            place = f", the first of {within}," if within not in (None, row.name) else ""
            raise CollectionError(
                f"run {row.name}{place} did not complete: it is {row.state}",
                hint="certify a complete run by its name, or use --allow-incomplete",
            )


def _first_matches(connection: Connection, types: Sequence[str], path: Sequence[Row]) -> set[int]:
    ids: set[int] = set()
    for name in types:
        type_id, _ = calibration_type(connection, name)
        for layers in layers_of(connection, type_id, path).values():
            ids.add(layers[0].rows[0].dataset)
    return ids


def _check_found(
    types: Sequence[str],
    refs: Sequence[DatasetRef],
    path: Sequence[Row],
    name: str,
    where: str | None,
) -> None:
    lacking = [kind for kind in types if not any(ref.type == kind for ref in refs)]
    if lacking:
        searched = ", ".join(row.name for row in path)
        restricted = f" where {where}" if where else ""
        raise NoDataError(
            f"nothing to certify: {name} holds no {', '.join(lacking)}{restricted} "
            f"(searched {searched})",
            hint="of a chain only the first child is searched; --search-all-inputs searches all",
        )
