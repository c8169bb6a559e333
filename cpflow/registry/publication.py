"""Publishing a run: everything that it made appears at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import update

from cpflow.registry import schema
from cpflow.registry.chains import ChainMode, change
from cpflow.registry.collections import ensure
from cpflow.registry.datasets import add
from cpflow.registry.output_chain import chain_of_run
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType, DatasetRef, Lineage, RunState


class Publication(RegistryPart):
    """Publishing runs."""

    def publish(
        self,
        run: str,
        refs: Sequence[DatasetRef],
        *,
        lineages: Mapping[str, Lineage] | None = None,
        state: RunState | str = RunState.COMPLETE,
        facts: Mapping[str, Any] | None = None,
        chain: str | None = None,
        chain_inputs: Sequence[str] = (),
        chain_children: Sequence[str] | None = None,
    ) -> list[DatasetRef]:
        """Register a run, its datasets and their provenance, and put it in its chain.

        All in one transaction: nobody sees the run before its datasets, or a part of them.

        Parameters
        ----------
        run : str
            RUN collection; made if it is missing.
        refs : sequence of DatasetRef
            What it made.
        lineages : mapping, optional
            By dataset id, what each was made from.
        state, facts : optional
            How far the run came, and what is known of it.
        chain : str, optional
            Output chain: the run goes to its front (spec R3, R4).
        chain_inputs : sequence of str
            Collections that were searched: flattened, they follow the run in a new chain.
        chain_children : sequence of str, optional
            Instead, the whole chain after this; the run's name must be among them to be in it.

        Returns
        -------
        list of DatasetRef
            As they are stored.

        Raises
        ------
        ConflictError
            If the run holds a dataset of one type and data id already.
        CollectionError
            If run or chain exist as something else, or a collection is missing.
        """
        table = schema.collection
        with self._db.write() as connection:
            row, _ = ensure(connection, run, CollectionType.RUN)
            values: dict[str, Any] = {"state": RunState(state).value}
            if facts is not None:
                values["facts"] = dict(facts)
            connection.execute(update(table).where(table.c.id == row.id).values(**values))
            added = add(connection, row, refs, lineages or {})
            if chain is not None and chain_children is not None:
                change(connection, chain, chain_children, ChainMode.REDEFINE)
            elif chain is not None:
                chain_of_run(connection, chain, run, chain_inputs)
        return added
