"""Publishing a run: everything that it made appears at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, update

from cpflow.registry import schema
from cpflow.registry.chains import ChainMode, change
from cpflow.registry.collections import ensure
from cpflow.registry.database import lock_chains
from cpflow.registry.datasets import add, add_lineages
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
        behind: Mapping[str, Sequence[DatasetRef]] | None = None,
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
        behind : mapping, optional
            Further RUNs with their datasets, in the same transaction; in the chain they come after
            the run. Datasets may be made from those of any of the runs.

        Returns
        -------
        list of DatasetRef
            As they are stored: those of the run, then those behind it.

        Raises
        ------
        ConflictError
            If the run holds a dataset of one type and data id already.
        CollectionError
            If run or chain exist as something else, or a collection is missing.
        """
        runs = {**(behind or {}), run: refs}
        added: list[DatasetRef] = []
        with self._db.write() as connection:
            if chain is not None:
                # Before any run: whoever removes runs takes the locks in this order.
                lock_chains(connection)
            for name, datasets in runs.items():
                row, _ = ensure(connection, name, CollectionType.RUN)
                _set_state(connection, row.id, RunState(state), facts)
                added = add(connection, row, datasets) + added
            add_lineages(connection, lineages or {})
            if chain is not None and chain_children is not None:
                change(connection, chain, chain_children, ChainMode.REDEFINE)
            elif chain is not None:
                for name in runs:
                    chain_of_run(connection, chain, name, chain_inputs)
        return added


def _set_state(
    connection: Connection, run: int, state: RunState, facts: Mapping[str, Any] | None
) -> None:
    table = schema.collection
    values: dict[str, Any] = {"state": state.value}
    if facts is not None:
        values["facts"] = dict(facts)
    connection.execute(update(table).where(table.c.id == run).values(**values))
