"""Which exposures a graph takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cpflow.exposure import Exposure


@dataclass(frozen=True)
class Select:
    """Exposures whose fields have the given values; the user's data query is ANDed to it.

    Parameters
    ----------
    **fields
        Names of the exposure record with a value, or a tuple of allowed values.

    Examples
    --------
    >>> Select(observation_type="bias").where
    "(exposure.observation_type = 'bias')"
    """

    fields: tuple[tuple[str, tuple[Any, ...]], ...]

    def __init__(self, **fields: Any) -> None:
        known = set(Exposure.__slots__)
        for name in fields:
            if name not in known:
                raise ValueError(f"an exposure has no field {name!r}")
        object.__setattr__(
            self,
            "fields",
            tuple(
                (name, value if isinstance(value, tuple) else (value,))
                for name, value in fields.items()
            ),
        )

    @property
    def where(self) -> str:
        """The selection in the data query language."""
        terms = []
        for name, values in self.fields:
            alternatives = " OR ".join(f"exposure.{name} = {_literal(v)}" for v in values)
            terms.append(f"({alternatives})")
        return " AND ".join(terms)

    def matches(self, exposure: Exposure) -> bool:
        """Whether the exposure is selected."""
        return all(getattr(exposure, name) in values for name, values in self.fields)


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
