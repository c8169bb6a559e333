"""What nights came to, one after the other, and what is unusual about the last one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cpflow.daily.options import Baseline
from cpflow.errors import DataError
from cpflow.store import write_text

# The median absolute deviation of a normal distribution, as a standard deviation.
_MAD_TO_SIGMA = 1.482602218505602


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the records of all nights, oldest first; none where there is no file.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise DataError(
                f"line {number} of the history {path} cannot be read: {error}",
                hint="take the line out; the night is written again when it is run again",
            ) from error
    return records


def add_to_history(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records of a night, in place of those of the same night, product and kind."""
    places = {_place(record) for record in records}
    kept = [record for record in read_history(path) if _place(record) not in places]
    ordered = sorted([*kept, *records], key=lambda r: (r["day_obs"], r["product"], r["kind"]))
    write_text(path, "".join(json.dumps(record, sort_keys=True) + "\n" for record in ordered))


def _place(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return record["day_obs"], record["product"], record["kind"]


def medians(table: Mapping[str, Any]) -> dict[str, float]:
    """Return the median of each statistic over amplifiers and exposures; NaN is left out."""
    found = {}
    for name in dict.fromkeys(map(str, table["statistic"])):
        values = table["value"][table["statistic"] == name]
        values = values[np.isfinite(values)]
        if values.size:
            found[name] = float(np.median(values))
    return found


def unusual(
    record: Mapping[str, Any], history: Sequence[Mapping[str, Any]], options: Baseline
) -> list[str]:
    """Say which statistics of a night are unlike those of the nights before.

    Parameters
    ----------
    record : mapping
        Of the night.
    history : sequence of mapping
        All records; those of earlier nights of the same product and kind count.
    options : Baseline

    Returns
    -------
    list of str
        As "LEVEL is 2.31, usual is 0.05 +- 0.12".
    """
    before = [
        other["medians"]
        for other in history
        if other["product"] == record["product"]
        and other["kind"] == record["kind"]
        and other["day_obs"] < record["day_obs"]
    ][-options.nights :]
    notes = []
    for name, value in record["medians"].items():
        known = np.array([night[name] for night in before if name in night])
        if known.size < options.fewest:
            continue
        middle = float(np.median(known))
        spread = _MAD_TO_SIGMA * float(np.median(np.abs(known - middle)))
        if spread > 0 and abs(value - middle) > options.mads * spread:
            notes.append(f"{name} is {value:.4g}, usual is {middle:.4g} +- {spread:.2g}")
    return notes
