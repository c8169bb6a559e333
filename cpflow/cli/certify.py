"""``cpflow certify``."""

from __future__ import annotations

import logging

import click

logger = logging.getLogger(__name__)


@click.command("certify")
@click.argument("repo")
@click.argument("run")
@click.argument("collection")
@click.argument("types", nargs=-1, required=True, metavar="TYPE...")
@click.option("--begin-date", "--begin_date", "begin", help="First instant, TAI; open if left out.")
@click.option("--end-date", "--end_date", "end", help="End, not included, TAI; open if left out.")
@click.option(
    "--search-all-inputs", is_flag=True, help="Search a whole chain, not its first child."
)
@click.option("--allow-incomplete", is_flag=True, help="Take a run that did not complete.")
@click.option("--replace", is_flag=True, help="Take the span from what holds it now.")
@click.option("--where", help="Restrict the products by a data query.")
@click.option("--reason", help="Recorded with the certification.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    repo: str,
    run: str,
    collection: str,
    types: tuple[str, ...],
    begin: str | None,
    end: str | None,
    search_all_inputs: bool,
    allow_incomplete: bool,
    replace: bool,
    where: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Put products in force for a timespan.

    RUN is a RUN or a chain, of which the first child is taken; COLLECTION is made if it does not
    exist. Dates are TAI; the span is half-open. The verdict of each product is shown and recorded;
    where the repository's policy is `require`, one that is not verified needs --reason.

    \b
    cpflow certify repo u/me/biasGen LATISS/calib/DM-1 \\
        --begin-date 2021-01-01 --end-date 2050-01-01 bias
    """
    from cpflow.cli.output import comma_list, show_json
    from cpflow.session import Repo

    with Repo(repo) as repository:
        certified = repository.certify(
            run,
            collection,
            comma_list(types),
            begin=begin,
            end=end,
            replace=replace,
            where=where,
            search_all_inputs=search_all_inputs,
            allow_incomplete=allow_incomplete,
            reason=reason,
        )
    if as_json:
        show_json(
            {
                "collection": collection,
                "certified": [str(item) for item in certified],
                "verdicts": [
                    {
                        "id": item.dataset.id,
                        "type": item.dataset.type,
                        **item.dataset.data_id._asdict(),
                        "verdict": item.verdict,
                        "reason": item.reason,
                    }
                    for item in certified
                ],
            }
        )
        return
    for item in certified:
        reason = f" ({item.reason})" if item.reason else ""
        click.echo(f"{collection}: {item}: {item.verdict}{reason}")
