"""``cpflow instrument new|check|list``."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpflow.errors import BuildError, UsageError

if TYPE_CHECKING:
    from cpflow.io.instrument import Instrument
    from cpflow.repo.rehearsal import Rehearsal

_SHOWN = 40
_PATHS = 3
_DETECTORS = 4
_LIT = ("flat", "science")


@click.group("instrument")
def command() -> None:
    """Describe a camera of your own.

    \b
    cpflow instrument new /data/night1            # writes CAMERA.yaml: what is found, what is asked
    cpflow instrument check CAMERA.yaml /data/night1
    cpflow init repo --instrument CAMERA.yaml
    """


@command.command("new")
@click.argument("paths", nargs=-1, required=True)
@click.option("--name", help="Name of the instrument; by default as the headers call it.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False), help="File to write; by default NAME.yaml."
)
@click.option("--overwrite", is_flag=True, help="Write over a file that exists.")
def new(paths: tuple[str, ...], name: str | None, output: str | None, overwrite: bool) -> None:
    """Look at raw files of one camera, and write an instrument file with what they say.

    PATHS are FITS files, or directories to search. One file will do; some of each kind (bias, dark,
    flat, science) and of each detector do better. What the files do not say is marked TODO in what
    is written, with the question.
    """
    from cpflow.io.instrument_survey import draft_instrument
    from cpflow.repo.ingest import raw_files

    if name is not None:
        _check_name(name)
    with _no_advice():
        draft = draft_instrument(raw_files(paths), name)
    target = Path(output or f"{(draft.name or 'camera').lower()}.yaml")
    if target.suffix.lower() not in (".yaml", ".yml"):
        raise UsageError(f"{target} is no YAML file", hint=f"-o {target.name}.yaml")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", hint="-o names another file, --overwrite replaces it")
    if not target.parent.is_dir():
        raise UsageError(f"there is no directory {target.parent}", hint="make it, or name another")
    target.write_text(draft.text, encoding="utf-8")
    width = max(len(what) for what, _ in draft.found)
    for what, words in draft.found:
        click.echo(f"{what.ljust(width)}  {words}")
    for line in _left_out(draft.left_out):
        click.echo(line, err=True)
    click.echo(f"\n{target}: {_asked(len(draft.asked))}")
    for one in draft.asked:
        click.echo(f"  {one}")
    before = "fill it in, then " if draft.asked else ""
    check_it = f"cpflow instrument check {shlex.quote(str(target))} {_shown_paths(paths)}"
    click.echo(f"\nnext: {before}{check_it}")


@contextmanager
def _no_advice() -> Iterator[None]:
    """Leave out what would be said of each file: that it is gzipped as a whole."""
    logger = logging.getLogger("cpflow.io.fits_file")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _left_out(left_out: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a line for each reason for which files were left out."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(path)
    for reason, files in by_reason.items():
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        yield f"left out: {files[0]}{more}: {reason}"


def _shown_paths(paths: tuple[str, ...]) -> str:
    return shlex.join(paths[:_PATHS]) + (" ..." if len(paths) > _PATHS else "")


def _asked(count: int) -> str:
    if not count:
        return "nothing is left to be filled in"
    return "1 value is to be filled in" if count == 1 else f"{count} values are to be filled in"


def _check_name(name: str) -> None:
    import re

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.+-]{0,31}", name):
        raise UsageError(
            f"{name!r} is no name of an instrument",
            hint="letters, digits, _ . + -; a letter first; at most 32",
        )


@command.command("check")
@click.argument("instrument")
@click.argument("paths", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def check(instrument: str, paths: tuple[str, ...], as_json: bool) -> None:
    """Say what an instrument file describes, and what it makes of raw files.

    INSTRUMENT is a file, or the name of a shipped instrument. PATHS are FITS files, or directories
    to search: each is ingested for trial, and what would be refused is said with the reason and a
    remedy. Nothing is written. The exit code is 2 if the instrument file is not sound or still has
    values to be filled in, and 4 if files are refused.
    """
    from cpflow.cli.output import show_json
    from cpflow.io.instrument import load_instrument
    from cpflow.repo.rehearsal import rehearse_ingest
    from cpflow.report.progress import progress_counter

    loaded = load_instrument(instrument)
    rehearsal = None
    if paths:
        with _no_advice(), progress_counter("looking at files") as progress:
            rehearsal = rehearse_ingest(loaded, paths, progress=progress)
    if as_json:
        show_json(_as_json(loaded, rehearsal))
    else:
        _show_camera(loaded, rehearsal)
        if rehearsal is not None:
            _show_files(rehearsal)
        _show_next(loaded, instrument, paths, rehearsal)
    if rehearsal is not None and rehearsal.refused:
        count = len(rehearsal.refused)
        files = "1 file" if count == 1 else f"{count} files"
        raise BuildError(f"{files} would be refused, for the reasons given above")


def _show_camera(instrument: Instrument, rehearsal: Rehearsal | None) -> None:
    from cpflow.cli.output import show_table
    from cpflow.io.instrument_survey.describing import (
        advice,
        detector_kinds,
        header_words,
        kind_words,
        output_rows,
    )

    described = instrument.definition.get("description")
    click.echo(f"{instrument.name}{f': {described}' if described else ''}")
    for line in header_words(instrument):
        click.echo(line)
    detectors = list(instrument.camera.detectors)
    if not detectors and rehearsal is not None:
        detectors = list(rehearsal.detectors.values())
    for kind in detector_kinds(detectors):
        click.echo("\n" + "\n".join(kind_words(kind)))
        rows = output_rows(kind)
        show_table(list(rows[0]), rows)
    for line in advice(instrument, detectors):
        click.echo(f"note: {line}")


def _show_files(rehearsal: Rehearsal) -> None:
    from cpflow.cli.output import show_table
    from cpflow.io.instrument_survey.describing import level_rows, type_advice

    rows = _file_rows(rehearsal)
    if not rows:
        return
    click.echo("")
    show_table(list(rows[0]), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        click.echo(f"... and {len(rows) - _SHOWN} more")
    types: dict[str, int] = {}
    for exposure, _ in rehearsal.taken:
        types[exposure.observation_type] = types.get(exposure.observation_type, 0) + 1
    click.echo(f"\n{', '.join(f'{count} {kind}' for kind, count in sorted(types.items()))}")
    for line in type_advice(types):
        click.echo(f"note: {line}")
    # One file of each detector, of those that saw light if there are any.
    ordered = sorted(rehearsal.taken, key=lambda pair: pair[0].observation_type not in _LIT)
    chosen = {raw.detector: raw for _, raw in reversed(ordered)}
    files = [chosen[number] for number in sorted(chosen)[:_DETECTORS]]
    levels = [
        row
        for raw in files
        for row in level_rows(rehearsal.detectors[raw.detector], raw.path, raw.layout)
    ]
    names = dict.fromkeys(Path(raw.path).name for raw in files)
    click.echo(f"\nlevels in {', '.join(names)}, adu")
    show_table(list(dict.fromkeys(key for row in levels for key in row)), levels)


def _file_rows(rehearsal: Rehearsal) -> list[dict[str, Any]]:
    from cpflow.timespan import isoformat

    return [
        {
            "file": Path(raw.path).name,
            "detector": raw.detector,
            "exposure": exposure.exposure,
            "day_obs": exposure.day_obs,
            "seq_num": exposure.seq_num,
            "type": exposure.observation_type,
            "filter": exposure.physical_filter,
            "exposure time": exposure.exposure_time,
            "begin (UTC)": isoformat(exposure.timespan.begin, "utc")
            if exposure.timespan.begin is not None
            else None,
        }
        for exposure, raw in rehearsal.taken
    ]


def _show_next(
    instrument: Instrument, given: str, paths: tuple[str, ...], rehearsal: Rehearsal | None
) -> None:
    if rehearsal is not None and rehearsal.refused:
        return
    click.echo("\nnext:")
    click.echo(f"  cpflow init repo --instrument {shlex.quote(given)}")
    click.echo(f"  cpflow ingest repo {_shown_paths(paths) or 'PATH...'}")


def _as_json(instrument: Instrument, rehearsal: Rehearsal | None) -> dict[str, Any]:
    from cpflow.io.instrument import geometry_of

    detectors = list(instrument.camera.detectors)
    if not detectors and rehearsal is not None:
        detectors = list(rehearsal.detectors.values())
    return {
        "instrument": instrument.name,
        "detectors": [geometry_of(detector) for detector in detectors],
        "files": [] if rehearsal is None else _file_rows(rehearsal),
        "refused": []
        if rehearsal is None
        else [{"path": r.path, "reason": str(r.error)} for r in rehearsal.refused],
    }


@command.command("list")
@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table")
def listed(form: str) -> None:
    """List the instruments that can be named: shipped ones, and those in $CPFLOW_PATH."""
    from cpflow.cli.output import show_table
    from cpflow.io.instrument import instrument_files
    from cpflow.io.yaml_text import load_yaml

    rows = []
    for name, path in sorted(instrument_files().items()):
        content = load_yaml(path.read_text(encoding="utf-8"))
        described = content.get("description", "") if isinstance(content, dict) else ""
        rows.append({"name": name, "description": described, "file": str(path)})
    show_table(["name", "description", "file"], rows, form)
