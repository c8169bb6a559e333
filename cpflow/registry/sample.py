"""A semi-random sample of exposures: many dates, none of which dominates."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
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
    groups: dict[object, list[E]] = {}
    for exposure in exposures:
        groups.setdefault(_value(exposure, per), []).append(exposure)
    # Ranks by hash are the same on every machine and with every version of Python, and one more
    # exposure does not shuffle all the others.
    for members in groups.values():
        members.sort(key=lambda one: (_rank(seed, *_identity(one)), _identity(one)))
    waiting = [groups[value] for value in sorted(groups, key=lambda value: _rank(seed, per, value))]
    chosen: list[E] = []
    turn = 0
    while waiting and len(chosen) < n:
        chosen.extend(members[turn] for members in waiting[: n - len(chosen)])
        turn += 1
        waiting = [members for members in waiting if len(members) > turn]
    return sorted(chosen, key=_identity)


def _rank(seed: int, *what: object) -> bytes:
    return hashlib.sha256(repr((seed, *what)).encode()).digest()


def _identity(exposure: Exposure) -> tuple[str, int]:
    return exposure.instrument, exposure.exposure


def _value(exposure: Exposure, per: str) -> object:
    fields = set(Exposure.__dataclass_fields__) - {"extra", "timespan"}
    if per in fields:
        return getattr(exposure, per)
    if per in exposure.extra:
        return exposure.extra[per]
    raise UsageError(
        f"an exposure has no field {per!r}",
        hint=nearest(per, sorted(fields)) or f"fields: {', '.join(sorted(fields))}",
    )
