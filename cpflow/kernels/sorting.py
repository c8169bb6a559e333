"""Sort many short columns at once, a lane per pixel, with a comparator network.

A network compares fixed pairs of rows, whatever the data, so that every comparison is one minimum
and one maximum over all lanes, without a branch. K. E. Batcher's odd-even merge sort ("Sorting
networks and their applications", 1968) takes any number of rows. What limits its speed is storing
rows, so its parts of 16 rows are done in vector registers, from one load to one store of each row.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

#: Columns (pixels) that are sorted side by side.
LANES = 64

#: Floats from one row of a block to the next. More than `LANES`, because rows at a distance of a
#: power of two would otherwise share the low 12 bits of their addresses, and processors take a load
#: from one for a load from the other's pending store.
STRIDE = 80

# Rows of the parts that are done in registers: as many as a processor with AVX-512 has room for
# beside its temporaries, and those of half the length with AVX2.
_WIRES = 16
_VECTOR = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8

Pair = tuple[int, int]


class Network(NamedTuple):
    """What `sort_columns` does, as offsets of rows in a block.

    Level by level: the 16-row parts from `parts`, then the comparators from `pairs`, each up to the
    bound in `levels`. The parts of level 0 sort, those of later ones merge two sorted halves.
    """

    parts: npt.NDArray[np.uint64]
    pairs: npt.NDArray[np.uint64]
    levels: npt.NDArray[np.int64]


def _level(rows: int, p: int, lowest: int = 1) -> Iterator[Pair]:
    """Yield the comparators that merge sorted runs of p rows, from distance p to `lowest`."""
    k = p
    while k >= lowest:
        for j in range(k % p, rows - k, 2 * k):
            for i in range(j, min(j + k, rows - k)):
                if i // (2 * p) == (i + k) // (2 * p):
                    yield i, i + k
        k //= 2


_MERGE = tuple(_level(_WIRES, _WIRES // 2))
_SORT = tuple(_level(_WIRES, 1)) + tuple(_level(_WIRES, 2)) + tuple(_level(_WIRES, 4)) + _MERGE


@lru_cache(maxsize=64)
def network(rows: int) -> Network:
    """Plan how to sort columns of so many rows.

    Parameters
    ----------
    rows : int
        Values in a column, at least 1.

    Returns
    -------
    Network
        About ``rows*log2(rows)**2/4`` comparators: 403 for 50 rows, 9511 for 500.
    """
    parts: list[list[int]] = []
    pairs: list[Pair] = []
    levels = []
    for start in range(0, rows, _WIRES):
        _place([start + wire for wire in range(_WIRES)], rows, _SORT, parts, pairs)
    levels.append((len(parts), len(pairs)))
    p = _WIRES
    while p < rows:
        # Rows of the same residue to this step merge by themselves, down to neighbours among them.
        step = 2 * p // _WIRES
        for start in range(0, rows, 2 * p):
            for residue in range(step):
                wires = [start + residue + wire * step for wire in range(_WIRES)]
                _place(wires, rows, _MERGE, parts, pairs)
        k = step // 2
        while k >= 1:
            pairs += (pair for pair in _level(rows, p, k) if pair[1] - pair[0] == k)
            k //= 2
        levels.append((len(parts), len(pairs)))
        p *= 2
    return Network(
        np.array(parts, np.uint64).reshape(-1, _WIRES) * np.uint64(STRIDE),
        np.array(pairs, np.uint64).reshape(-1, 2) * np.uint64(STRIDE),
        np.array(levels, np.int64),
    )


def _place(
    wires: list[int],
    rows: int,
    comparators: tuple[Pair, ...],
    parts: list[list[int]],
    pairs: list[Pair],
) -> None:
    """Plan a part, or only its comparators if most of its rows are beyond the last."""
    real = [(wires[i], wires[j]) for i, j in comparators if wires[j] < rows]
    if 2 * len(real) > len(comparators):
        parts.append([min(wire, rows) for wire in wires])
    else:
        pairs += real


def _exchange(comparators: tuple[Pair, ...], wires: int) -> Any:
    """Make a function that does these comparators on rows held in registers.

    It takes a block, a table of row offsets and the line of the table. LLVM's minimum and maximum
    are called rather than left to its optimiser, which turns a conditional that is stored over its
    own operand into a masked store, at a third of the speed.
    """

    @intrinsic
    def exchange(context, block, table, line):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            data, offsets = (
                context.make_array(kind)(context, builder, value).data
                for kind, value in zip(signature.args[:2], arguments[:2], strict=True)
            )
            vector = ir.VectorType(ir.FloatType(), _VECTOR)
            extremum = ir.FunctionType(vector, [vector, vector])
            smaller, larger = (
                cgutils.get_or_insert_function(
                    builder.module, extremum, f"llvm.{name}.v{_VECTOR}f32"
                )
                for name in ("minnum", "maxnum")
            )
            size = ir.IntType(64)
            first = builder.mul(arguments[2], ir.Constant(size, wires))
            rows = []
            for wire in range(wires):
                index = builder.add(first, ir.Constant(size, wire))
                rows.append(builder.load(builder.gep(offsets, [index])))
            for lane in range(0, LANES, _VECTOR):
                places = [
                    builder.bitcast(
                        builder.gep(data, [builder.add(row, ir.Constant(size, lane))]),
                        vector.as_pointer(),
                    )
                    for row in rows
                ]
                values = [builder.load(place, align=4) for place in places]
                for i, j in comparators:
                    both = (values[i], values[j])
                    values[i] = builder.call(smaller, both, fastmath=("nnan", "nsz"))
                    values[j] = builder.call(larger, both, fastmath=("nnan", "nsz"))
                for place, value in zip(places, values, strict=True):
                    builder.store(value, place, align=4)
            return context.get_dummy_value()

        return types.void(block, table, types.uint64), generate

    return exchange


_sort_part = _exchange(_SORT, _WIRES)
_merge_part = _exchange(_MERGE, _WIRES)
_exchange_pair = _exchange(((0, 1),), 2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sort_columns(block, plan):  # type: ignore[no-untyped-def]
    """Sort the columns of a block in place, ascending from row 0.

    Parameters
    ----------
    block : array of float32, shape ((rows + 1) * STRIDE,)
        Row r is ``block[r*STRIDE : r*STRIDE + LANES]``. The last row has to be +inf, and stays so;
        it stands for rows that are not there. There must be no NaN.
    plan : Network
        For that number of rows.
    """
    part, pair = 0, 0
    for level in range(plan.levels.shape[0]):
        while part < plan.levels[level, 0]:
            if level == 0:
                _sort_part(block, plan.parts, np.uint64(part))
            else:
                _merge_part(block, plan.parts, np.uint64(part))
            part += 1
        while pair < plan.levels[level, 1]:
            _exchange_pair(block, plan.pairs, np.uint64(pair))
            pair += 1
