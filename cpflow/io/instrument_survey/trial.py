"""Try header rules on the files of a survey, with the code that ingests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpflow.errors import RawError
from cpflow.io.cards import Value
from cpflow.io.evaluate import Evaluation
from cpflow.io.instrument_survey.hdus import Survey
from cpflow.io.values import BadValueError

_NEEDED: dict[str, Any] = {
    "exposure": {"value": 0},
    "seq_num": {"value": 0},
    "observation_type": {"value": "unknown"},
}


class Trial:
    """Rules at work on every file of a survey.

    Parameters
    ----------
    survey : Survey
    begin : list of rules
        How an exposure's begin is found; by default it is not.
    variables, fields : mapping of str to rules
        As in an instrument file; a field that every file needs may be left out.
    """

    def __init__(
        self,
        survey: Survey,
        *,
        begin: Any = None,
        variables: Mapping[str, Any] | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        from cpflow.io.rules import HeaderRules

        rules = HeaderRules.model_validate(
            {
                "time": {"begin": begin or [{"value": "2000-01-01"}]},
                "variables": dict(variables or {}),
                "fields": {**_NEEDED, **(fields or {})},
            }
        )
        self._evaluations = [Evaluation(rules, look.header, look.path) for look in survey.looks]

    def values(self, name: str) -> list[Value]:
        """Return what a field or variable is in each file; None where it is nothing sensible."""
        return [_value(one, name) for one in self._evaluations]

    def instants(self, name: str = "begin") -> list[int | None]:
        """Return a time in each file, in TAI nanoseconds; None where it is none."""
        return [_instant(one, name) for one in self._evaluations]


def _value(evaluation: Evaluation, name: str) -> Value:
    try:
        found = evaluation.find(name)
    except (BadValueError, RawError):
        return None
    return None if found is None else found.value


def _instant(evaluation: Evaluation, name: str) -> int | None:
    try:
        return evaluation.instant(name)
    except (BadValueError, RawError):
        return None
