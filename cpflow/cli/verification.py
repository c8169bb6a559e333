"""``cpflow verification``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpflow.errors import VerificationError

if TYPE_CHECKING:
    from cpflow.report.verified import Verified

_TEXT = ("statistic", "test", "units", "verdict", "waiver")
_NUMBERS = ("value", "error", "low", "high", "margin")


@click.command("verification")
@click.argument("repo")
@click.argument("collection", metavar="RUN")
@click.option("--product", help="Product type, if the run has several.")
@click.option("--detector", type=int, help="Only this one.")
@click.option("--filter", "--physical-filter", "physical_filter", help="Only this one.")
@click.option("--failures", "only_failures", is_flag=True, help="Only the rows that fail.")
@click.option("--parquet", type=click.Path(dir_okay=False), help="Write the rows to this file.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    collection: str,
    product: str | None,
    detector: int | None,
    physical_filter: str | None,
    only_failures: bool,
    parquet: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Say what a verification came to, waivers applied, and list what fails.

    RUN is a RUN or a chain: one that holds verifications, or products that were verified. Exit code
    5 if a required test fails, or has no data, and no waiver documents it.

    \b
    cpflow verification repo u/me/verifyBias
    cpflow verification repo u/me/verifyBias --parquet bias.parquet --failures
    """
    from cpflow.cli.output import show_json, show_table
    from cpflow.errors import UsageError
    from cpflow.repo import Repository
    from cpflow.report.verification import verification_report
    from cpflow.report.verified import VERDICTS, summary_of

    target = None if parquet is None else Path(parquet)
    if target is not None and target.exists() and not overwrite:
        raise UsageError(f"{target} exists", hint="--overwrite replaces it")
    with Repository(repo) as repository:
        report = verification_report(
            repository, collection, product, detector=detector, physical_filter=physical_filter
        )
        summaries, rows = [], []
        for one in report.verified():
            summaries.append(summary_of(one))
            rows += _open_rows(one)
        if target is not None:
            from cpflow.report.verification_parquet import write_parquet

            write_parquet(report, target, failures=only_failures)
    verdict = max((one["verdict"] for one in summaries), key=VERDICTS.index)
    if as_json:
        show_json({"verdict": verdict, "products": summaries, "failures": rows})
    else:
        if not only_failures:
            for summary in summaries:
                click.echo(_line(summary))
        if rows:
            several = len(summaries) > 1
            of = ("product", "detector", "filter") if several else ()
            shown = (*of, "exposure", "amp", "test", *_NUMBERS, "units", "verdict")
            show_table(shown, [{**row, **_blank(row)} for row in rows])
        if target is not None:
            click.echo(target)
    if verdict in ("fail", "no_data"):
        failed = sum(one["verdict"] in ("fail", "no_data") for one in summaries)
        raise VerificationError(
            f"{failed} of {len(summaries)} verifications in {collection}: {len(rows)} required "
            f"tests {'fail' if verdict == 'fail' else 'have no data'}",
            hint=f"`cpflow report {repo} {collection}` shows each test, cpflow waive documents one",
        )


def _open_rows(one: Verified) -> list[dict[str, Any]]:
    """Return the rows that neither pass nor are waived, as plain data."""
    import math

    data_id = one.ref.data_id
    found = []
    for i in one.open_rows:
        row: dict[str, Any] = {
            "product": one.candidate.product,
            "detector": data_id.detector,
            "filter": data_id.physical_filter,
            "exposure": int(one.columns["exposure"][i]),
            "construction": bool(one.columns["construction"][i]),
            "amp": str(one.columns["amp"][i]),
        }
        row |= {name: str(one.columns[name][i]) for name in _TEXT}
        for name in _NUMBERS:
            value = float(one.columns[name][i])
            # JSON has no words for what is not finite.
            row[name] = value if math.isfinite(value) else None
        found.append(row)
    return found


def _blank(row: dict[str, Any]) -> dict[str, Any]:
    """Return what reads better in a table than a number that stands for nothing."""
    return {
        "exposure": row["exposure"] if row["exposure"] >= 0 else "run",
        "units": "" if row["units"] == "1" else row["units"],
    }


def _line(one: dict[str, Any]) -> str:
    counts = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in one["counts"].items())
    text = f"{one['label']}: {one['verdict'].replace('_', ' ')} ({counts})"
    if one["exposures"]:
        text += f"; {one['exposures']} exposures"
        if one["construction"] is not None:
            text += f", {one['exposures'] - one['construction']} of them independent"
    return text + f"; candidate {one['candidate'][:19]} of {one['candidate_run']}"
