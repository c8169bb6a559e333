"""Removing groupings: CHAINED, TAGGED and CALIBRATION collections, and output chains whole."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete

from cpflow.errors import CollectionError
from cpflow.registry import schema
from cpflow.registry.chains import reach
from cpflow.registry.chains import unlink as unlink_from_chains
from cpflow.registry.collections import Row, matching, parent_names, row_of_type
from cpflow.registry.database import is_one_of, lock_chains
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType
from cpflow.registry.removal import Removal, check_allowed, plan_of, remove


class Groupings(RegistryPart):
    """Removing groupings."""

    def remove_collections(
        self, patterns: str | Sequence[str], *, unlink: bool = False, dry_run: bool = False
    ) -> list[str]:
        """Remove CHAINED, TAGGED and CALIBRATION collections; datasets stay (spec C21).

        Parameters
        ----------
        patterns : str or sequence of str
            Names or globs; RUNs that match a glob are passed over.
        unlink : bool
            Take them out of chains that stay.
        dry_run : bool
            Only say what would be removed.

        Returns
        -------
        list of str
            What was removed.

        Raises
        ------
        CollectionError
            If a chain that stays holds one, or a RUN was named.
        """
        given = [patterns] if isinstance(patterns, str) else list(patterns)
        with self._db.write() as connection:
            lock_chains(connection)
            rows = matching(connection, given)
            runs = [r.name for r in rows if r.type is CollectionType.RUN and r.name in given]
            if runs:
                raise CollectionError(
                    f"{', '.join(runs)}: a RUN goes with its datasets",
                    hint="'cpflow remove-run' removes both",
                )
            going = [row for row in rows if row.type is not CollectionType.RUN]
            if not dry_run:
                _remove_groupings(connection, going, unlink=unlink)
        return [row.name for row in going]

    def purge(self, chain: str, *, force: bool = False, dry_run: bool = False) -> Removal:
        """Remove an output chain with the runs whose names begin with its own (spec C26).

        Raises
        ------
        CollectionError
            If another chain holds it, or one of those runs.
        ConflictError
            If certifications or tags would be lost, and `force` is not given.
        """
        with self._db.write() as connection:
            lock_chains(connection)
            row = row_of_type(connection, chain, CollectionType.CHAINED, "purge")
            children = reach(connection, [row.id]).flatten([row.id])
            runs = [
                child
                for child in children
                if child.type is CollectionType.RUN and child.name.startswith(f"{chain}/")
            ]
            holders = {
                one.name: sorted(set(parent_names(connection, one.id)) - {chain})
                for one in (row, *runs)
            }
            held = {name: parents for name, parents in holders.items() if parents}
            if held:
                listed = "; ".join(f"{name} is in {', '.join(p)}" for name, p in held.items())
                raise CollectionError(
                    f"chains still refer to what would be removed: {listed}",
                    hint="take it out of them first with 'cpflow chain --mode remove'",
                )
            plan = plan_of(connection, runs)
            check_allowed(plan, force=force, unlink=True)
            if not dry_run:
                _remove_groupings(connection, [row], unlink=False)
                remove(connection, runs, plan)
        return plan

    def cleanup(self, chain: str, *, force: bool = False, dry_run: bool = False) -> Removal:
        """Remove the runs whose names begin with a chain's and that are not in it (spec C26)."""
        with self._db.write() as connection:
            lock_chains(connection)
            row = row_of_type(connection, chain, CollectionType.CHAINED, "cleanup")
            kept = set(reach(connection, [row.id]).rows)
            runs = [
                one
                for one in matching(connection, f"{chain}/*", [CollectionType.RUN])
                if one.id not in kept
            ]
            plan = plan_of(connection, runs)
            check_allowed(plan, force=force, unlink=False)
            if not dry_run:
                remove(connection, runs, plan)
        return plan


def _remove_groupings(connection: Connection, rows: Sequence[Row], *, unlink: bool) -> None:
    going = {row.name for row in rows}
    held = {row.name: set(parent_names(connection, row.id)) - going for row in rows}
    held = {name: parents for name, parents in held.items() if parents}
    if held and not unlink:
        listed = "; ".join(f"{name} is in {', '.join(sorted(p))}" for name, p in held.items())
        raise CollectionError(
            f"chains still refer to what would be removed: {listed}",
            hint="take it out with 'cpflow chain REPO CHAIN NAME --mode remove', or use "
            "--remove-from-parents",
        )
    ids = [row.id for row in rows]
    unlink_from_chains(connection, ids)
    table = schema.collection
    # Members, rows and children of the collections go with them.
    connection.execute(delete(table).where(is_one_of(connection, table.c.id, ids)))
