"""The table of verifications as Parquet: one row group for each product."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cpflow.report.verification import VerificationReport
from cpflow.report.verified import full_columns, summary_of

if TYPE_CHECKING:
    import pyarrow as pa


def write_parquet(report: VerificationReport, path: Path, *, failures: bool = False) -> int:
    """Write the rows of all verifications.

    Columns are those of `VerificationReport.table`; text is dictionary-encoded, what is not known
    is null. The metadata key ``cpflow`` holds verdict and summaries as JSON.

    Parameters
    ----------
    report : VerificationReport
    path : pathlib.Path
    failures : bool
        Only rows of required tests that neither pass nor are waived.

    Returns
    -------
    int
        Rows.
    """
    import pyarrow.parquet as pq

    rows = 0
    summaries = []
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    try:
        for one in report.verified():
            columns = full_columns(one)
            if failures:
                columns = {name: values[one.open_rows] for name, values in columns.items()}
            table = _arrow(columns)
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
            rows += table.num_rows
            summaries.append(summary_of(one))
        if writer is not None:
            writer.add_key_value_metadata({"cpflow": json.dumps(summaries)})
    finally:
        if writer is not None:
            writer.close()
    return rows


def _arrow(columns: dict[str, Any]) -> pa.Table:
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    arrays = {}
    for name, values in columns.items():
        if values.dtype.kind == "U":
            arrays[name] = pa.array(values.tolist(), pa.string()).cast(text)
        else:
            arrays[name] = pa.array(np.ascontiguousarray(values), from_pandas=True)
    return pa.table(arrays)
