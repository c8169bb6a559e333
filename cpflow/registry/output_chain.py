"""Output chains: what a run makes is put in front of what it searched (spec 6.2)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from cpflow.errors import CollectionError
from cpflow.registry.chains import (
    ChainMode,
    change,
    children_of,
    prepend,
    reach,
    search_path,
)
from cpflow.registry.collections import ensure, row_of_type
from cpflow.registry.database import lock_chains
from cpflow.registry.names import check_collection_name
from cpflow.registry.part import RegistryPart
from cpflow.registry.records import CollectionType


def chain_of_run(connection: Connection, chain: str, run: str, inputs: Sequence[str]) -> list[str]:
    """Put a finished RUN into its output chain (spec R3, R4).

    A new chain is the run and the flattened inputs as they are now. In one that exists the run
    goes to the front; inputs that it lacks go to the end.
    """
    check_collection_name(chain)
    row, made = ensure(connection, chain, CollectionType.CHAINED)
    leaves = [leaf.name for leaf in search_path(connection, inputs)] if inputs else []
    if made:
        return change(connection, chain, [run, *leaves], ChainMode.REDEFINE)
    present = {child.name for child in reach(connection, [row.id]).flatten([row.id])}
    lacking = [leaf for leaf in leaves if leaf not in present]
    if lacking:
        change(connection, chain, lacking, ChainMode.EXTEND)
    return prepend(connection, chain, [run])


class OutputChains(RegistryPart):
    """Output chains."""

    def check_output_chain(self, chain: str, inputs: Sequence[str]) -> None:
        """Refuse inputs that an existing output chain was not made with (spec R5).

        Raises
        ------
        CollectionError
            If the flattened inputs do not stand in the chain side by side, in this order.
        """
        with self._db.read() as connection:
            row = row_of_type(connection, chain, CollectionType.CHAINED, "output chain")
            held = [leaf.id for leaf in reach(connection, [row.id]).flatten([row.id])]
            wanted = [leaf.id for leaf in search_path(connection, inputs)]
        places = range(len(held) - len(wanted) + 1)
        if not any(held[i : i + len(wanted)] == wanted for i in places):
            raise CollectionError(
                f"{chain} was made with other inputs than {', '.join(inputs)}",
                hint="leave out -i to go on with those, rebase the chain, or name another output",
            )

    def rebase_chain(self, chain: str, inputs: Sequence[str]) -> list[str]:
        """Make an output chain its own runs, then new inputs, then the rest (spec R5).

        Returns
        -------
        list of str
            The children of the chain after this.
        """
        with self._db.write() as connection:
            lock_chains(connection)
            row = row_of_type(connection, chain, CollectionType.CHAINED, "output chain")
            old = [child.name for child in children_of(connection, row.id)]
            own = [name for name in old if name.startswith(f"{chain}/")]
            leaves = [leaf.name for leaf in search_path(connection, inputs)]
            rest = [name for name in old if name not in own]
            return change(connection, chain, [*own, *leaves, *rest], ChainMode.REDEFINE)
