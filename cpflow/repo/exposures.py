"""Exposures that a query found, as people hold them in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import overload

from cpflow.exposure import Exposure
from cpflow.registry.sample import sample

COLUMNS = (
    "exposure",
    "day_obs",
    "seq_num",
    "observation_type",
    "exposure_time",
    "dark_time",
    "physical_filter",
    "target_name",
)


@dataclass(frozen=True, repr=False)
class Exposures(Sequence[Exposure]):
    """Exposure records, ordered by id."""

    records: tuple[Exposure, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The exposure ids."""
        return tuple(record.exposure for record in self.records)

    def sample(self, n: int, per: str = "day_obs", seed: int = 1) -> Exposures:
        """Return a semi-random sample with the widest coverage of `per`, none of it dominating.

        Parameters
        ----------
        n : int
            How many; all of them if there are fewer.
        per : str
            Field of the exposure record.
        seed : int
            The same seed gives the same sample.
        """
        return Exposures(tuple(sample(self.records, n, per=per, seed=seed)))

    def where(self) -> str:
        """Return a data query that selects exactly these."""
        return f"exposure IN ({', '.join(map(str, self.ids))})"

    @overload
    def __getitem__(self, index: int) -> Exposure: ...
    @overload
    def __getitem__(self, index: slice) -> Exposures: ...
    def __getitem__(self, index: int | slice) -> Exposure | Exposures:
        if isinstance(index, slice):
            return Exposures(self.records[index])
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Exposure]:
        return iter(self.records)

    def __repr__(self) -> str:
        if not self.records:
            return "<Exposures: none>"
        types = Counter(record.observation_type for record in self.records)
        days = {record.day_obs for record in self.records}
        shown = ", ".join(f"{count} {name}" for name, count in types.most_common())
        return f"<Exposures: {shown}, {len(days)} days {min(days)} to {max(days)}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{name}</th>" for name in COLUMNS)
        body = "".join(
            "<tr>"
            + "".join(f"<td>{escape(str(getattr(record, name)))}</td>" for name in COLUMNS)
            + "</tr>"
            for record in self.records[:20]
        )
        more = len(self.records) - 20
        tail = f"<p>and {more} more</p>" if more > 0 else ""
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{body}</table>{tail}"
