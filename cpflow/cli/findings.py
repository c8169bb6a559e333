"""What `cpflow doctor` has found, for people as it comes, or as one JSON object at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from cpflow.cli.output import show_json
from cpflow.errors import CpflowError, DataError
from cpflow.findings import Finding, Level

CONTENT = "content"


class FindingsShown:
    """Findings in groups. People see each when it comes.

    Parameters
    ----------
    as_json : bool
        Show nothing before the end.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._found: list[tuple[str, Finding]] = []
        self._cleaned: list[Finding] = []
        self._group = ""
        self.facts: dict[str, Any] = {}

    def begin(self, group: str, title: str = "") -> None:
        """Begin a group of findings."""
        self._group = group
        self.say(title or group)

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings into the group that was begun."""
        for one in findings:
            self._found.append((self._group, one))
            self.say(f"  {one.level}: {one.subject}: {one.problem}")
            if one.remedy:
                self.say(f"    {one.remedy}")

    def clean(self, findings: Iterable[Finding]) -> None:
        """Take what was found and has been dealt with."""
        for one in findings:
            self._cleaned.append(one)
            self.say(f"  cleaned: {one.problem}")

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self._as_json:
            click.echo(text)

    def end(self, failure: CpflowError | None) -> None:
        """Come to the end.

        Parameters
        ----------
        failure : CpflowError or None
            Why something could not be examined.

        Raises
        ------
        CpflowError
            The failure, or one that counts the errors.
        """
        if self._as_json:
            show_json(
                {
                    **self.facts,
                    "findings": [
                        _plain(group, one)
                        for level in (Level.ERROR, Level.WARNING)
                        for group, one in self._found
                        if one.level is level
                    ],
                    "sound": [
                        _plain(group, one) for group, one in self._found if one.level is Level.OK
                    ],
                    "cleaned": [one.problem for one in self._cleaned],
                }
            )
        elif failure is None and all(one.level is Level.OK for _, one in self._found):
            click.echo("nothing is wrong")
        if failure is not None:
            raise failure
        wrong = [group for group, one in self._found if one.level is Level.ERROR]
        if wrong:
            what = "missing or damaged" if set(wrong) == {CONTENT} else "wrong"
            raise DataError(f"{len(wrong)} thing{'s are' if len(wrong) > 1 else ' is'} {what}")


def _plain(group: str, one: Finding) -> dict[str, str]:
    return {
        "group": group,
        "level": one.level.value,
        "subject": one.subject,
        "problem": one.problem,
        "remedy": one.remedy,
    }
