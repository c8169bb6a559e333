"""A semi-random sample of exposures: many dates, none of which dominates."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

from cpflow.errors import UsageError
from cpflow.exposure import Exposure
from cpflow.registry.names import nearest

E = TypeVar("E", bound=Exposure)


def sample(exposures: Iterable[E], n: int, per: str = "day_obs", seed: int = 1) -> list[E]:
    """Choose `n` exposures, spread as evenly over the values of a field as they allow.

    Every group gives one exposure before any gives two, and so on; where the last round does
    not go round, the groups that take part are drawn at random. Which exposures of a group are
    taken is random as well. The result depends on the set of exposures and the seed, not on the
    order in which they are given.

    Parameters
    ----------
    exposures : iterable of Exposure
        What to choose from.
    n : int
        How many; all, if there are fewer.
    per : str
        Field of the record that makes the groups.
    seed : int
        Another seed gives another sample.

    Returns
    -------
    list of Exposure
        Ordered by instrument and id.

    Raises
    ------
    UsageError
        If `n` is negative or `per` is no field.
    """
    if n < 0:
        raise UsageError(f"a sample cannot have {n} exposures")
    ordered = sorted(exposures, key=_identity)
    groups: dict[object, list[E]] = {}
    for exposure in ordered:
        groups.setdefault(_value(exposure, per), []).append(exposure)
    random = Random(seed)  # noqa: S311  reproducible on purpose
    for members in groups.values():
        random.shuffle(members)
    chosen: list[E] = []
    waiting = list(groups.values())
    while waiting and len(chosen) < n:
        room = n - len(chosen)
        turn = waiting if len(waiting) <= room else random.sample(waiting, room)
        chosen.extend(members.pop() for members in turn)
        waiting = [members for members in waiting if members]
    return sorted(chosen, key=_identity)


def _identity(exposure: Exposure) -> tuple[str, int]:
    return exposure.instrument, exposure.exposure


def _value(exposure: Exposure, per: str) -> object:
    fields = set(Exposure.__dataclass_fields__) - {"extra", "timespan"}
    if per in fields:
        return getattr(exposure, per)
    if per in exposure.extra:
        return exposure.extra[per]
    raise UsageError(f"an exposure has no field {per!r}", hint=nearest(per, sorted(fields)))
