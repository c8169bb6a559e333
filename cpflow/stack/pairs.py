"""Measurements of two exposures at once, as of two flats of equal light."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cpflow.camera import Detector
from cpflow.errors import DataError, RawError
from cpflow.exposure import Exposure
from cpflow.stack.choice import chosen
from cpflow.stack.frame import Context, Failure, Frame, Operation
from cpflow.stack.graph import Tasks
from cpflow.stack.lazy import looks_of, shared_values
from cpflow.stack.tasks import Source, check_dropped, located, process

if TYPE_CHECKING:
    from cpflow.stack.stack import Stack

PairMeasurement = Callable[[tuple[Frame, Frame], tuple[Context, Context]], Any]
PairSolution = Callable[[Sequence[Any], Sequence[Exposure], Collection[int]], Any]


def solve_pairs(
    stack: Stack,
    name: str,
    pairs: Sequence[tuple[int, int]],
    measurement: PairMeasurement,
    solution: PairSolution,
) -> Any:
    """Measure pairs of exposures, one task each, and solve for something from all of them; lazy.

    A task holds two frames, whatever the number of pairs.

    Parameters
    ----------
    stack : Stack
    name : str
        Shown in task names.
    pairs : sequence of (int, int)
        Places of exposures in the stack.
    measurement : callable
        Takes two processed frames and their contexts, and returns something small and picklable.
    solution : callable
        Takes what was measured (None for a pair of which an exposure cannot be used), the
        exposures of the stack, and the ids of those that cannot be used.

    Returns
    -------
    Delayed
        What `solution` returns.
    """
    from dask.base import tokenize

    looks = looks_of(stack)
    tasks = Tasks()
    token = tokenize(stack.token, measurement, tuple(pairs))[:16]
    whole = range(stack.detector.imaging_shape[0])
    tasks.need(looks.collected)
    shared = {**shared_values(tasks, stack, stack.shared, stack.images, whole), **looks.solved}
    operations = tasks.constant("operations", stack.operations, stack.token[:16])
    action = tasks.constant(name, measurement, token)
    values = [
        tasks.call(
            f"pair-{name}-{stack.exposures[i].exposure}-{token}",
            measure_pair,
            looks.sources,
            (i, j),
            looks.detector,
            operations,
            (dict(looks.measured[i]), dict(looks.measured[j])),
            shared,
            action,
        )
        for i, j in pairs
    ]
    solved = tokenize(token, solution)[:16]
    key = f"solve-{name}-{solved}"
    tasks.call(
        key,
        gather_pairs,
        looks.sources,
        looks.collected,
        tuple(pairs),
        values,
        stack.drop_bad,
        tasks.constant(f"solution-{name}", solution, solved),
    )
    return tasks.delayed(key, f"pairs-{name}-{solved}")


def measure_pair(
    sources: Sequence[Source],
    pair: tuple[int, int],
    detector: Detector,
    operations: Sequence[Operation],
    measured: tuple[Mapping[str, Any], Mapping[str, Any]],
    shared: Mapping[str, Any],
    measurement: PairMeasurement,
) -> Any:
    """Process two whole exposures and measure them; an unusable one gives its `Failure`."""
    frames, contexts = [], []
    for index, values in zip(pair, measured, strict=True):
        for value in values.values():
            if isinstance(value, Failure):
                return value
        source = sources[index]
        try:
            own = chosen(shared, index)
            frame, context = process(source, detector, None, operations, values, own, False)
        except RawError as error:
            return Failure(source.exposure.exposure, located(error, source))
        except DataError as error:
            return Failure(source.exposure.exposure, error)
        frames.append(frame)
        contexts.append(context)
    try:
        return measurement((frames[0], frames[1]), (contexts[0], contexts[1]))
    except DataError as error:
        return Failure(sources[pair[1]].exposure.exposure, error)


def gather_pairs(
    sources: Sequence[Source],
    measured: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[int, int]],
    values: Sequence[Any],
    drop_bad: int,
    solution: PairSolution,
) -> Any:
    """Solve from all pairs; one with an unusable exposure is None.

    Raises
    ------
    BuildError
        If more than `drop_bad` exposures cannot be used.
    """
    looks = [value for item in measured for value in item.values()]
    failures = {f.exposure: f for f in (*looks, *values) if isinstance(f, Failure)}
    check_dropped(list(failures.values()), len(sources), drop_bad)
    return solution(
        [None if isinstance(value, Failure) else value for value in values],
        [source.exposure for source in sources],
        set(failures),
    )
