"""Which keyword says what kind of exposure it is, and what its words mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cpflow.io.instrument_survey import vocabulary
from cpflow.io.instrument_survey.findings import Finding, Question
from cpflow.io.instrument_survey.hdus import Survey, counted
from cpflow.io.instrument_survey.trial import Trial

_ENDINGS: Final = r"\s*(frame|field|image|exposure)s?$"
_MEANING: Final = {
    word: kind for kind, words in vocabulary.OBSERVATION_TYPES.items() for word in words
}
_IN_NAME: Final = r"(?i)(bias|zero|dark|flat)"
_KINDS: Final = ", ".join(vocabulary.OBSERVATION_TYPES)


@dataclass(frozen=True, slots=True)
class ObservationTypes:
    """What was found of the types of exposures."""

    finding: Finding
    types: tuple[str | None, ...]
    """Of each file, as far as it is known."""
    key: str | None = None
    """The keyword that gives it."""

    @property
    def counts(self) -> dict[str, int]:
        """How many files there are of each type."""
        return dict(Counter(kind or "not known" for kind in self.types))


def find_types(survey: Survey) -> ObservationTypes:
    """Find out which type each file is of, and how the instrument file should say so."""
    for key in vocabulary.TYPE:
        if survey.has(key):
            return _from_keyword(survey, key)
    for key in vocabulary.TARGET:
        words = {_plain(value) for value in survey.values(key)}
        if survey.always(key) and words <= set(_MEANING) and words - {"object", "target"}:
            found = _from_keyword(survey, key)
            note = f"No keyword is for the type, so {key} is taken; a name of a target is none."
            return ObservationTypes(Finding(found.finding.value, "", (note,)), found.types, key)
    names = [re.search(_IN_NAME, Path(look.path).stem) for look in survey.looks]
    if all(names):
        rule = {"file": _IN_NAME, "lower": True, "map": {"zero": "bias"}}
        types = Trial(survey, fields={"observation_type": [rule]}).values("observation_type")
        note = "No keyword gives the type: it is taken from the names of the files."
        texts = tuple(str(kind) for kind in types)
        return ObservationTypes(Finding([rule, {"value": "science"}], "", (note,)), texts)
    return _asked(survey)


def _plain(value: Any) -> str:
    return re.sub(_ENDINGS, "", str(value).strip().lower())


def _from_keyword(survey: Survey, key: str) -> ObservationTypes:
    seen = [None if value is None else _plain(value) for value in survey.values(key)]
    words = dict.fromkeys(word for word in seen if word is not None)
    mapped: dict[str, Any] = {
        word: kind for word, kind in _MEANING.items() if word != kind and _is_usual(word, words)
    }
    unknown = []
    for word in words:
        if word not in _MEANING and word not in vocabulary.OTHER_TYPES:
            unknown.append(word)
            mapped[word] = Question(
                f"what are exposures of {key} {word!r}?",
                (f"{word}: flat   one of {_KINDS}; or a word of its own, which no graph takes",),
            )
    rule: dict[str, Any] = {"key": key, "lower": True}
    if any(re.search(_ENDINGS, str(value).lower().strip()) for value in survey.values(key)):
        rule["replace"] = {_ENDINGS: ""}
    if mapped:
        rule["map"] = mapped
    types = tuple(
        None if word is None or word in unknown else _MEANING.get(word, word) for word in seen
    )
    rules: list[Any] = [rule, {"value": "bias", "when": {"exposure_time": 0}}, {"value": "unknown"}]
    return ObservationTypes(Finding(rules, "", (_said(survey, key, types),)), types, key)


def _is_usual(word: str, seen: Any) -> bool:
    return word in seen or word in ("zero", "light", "object")


def _said(survey: Survey, key: str, types: Sequence[str | None]) -> str:
    pairs = Counter(zip(survey.values(key), types, strict=True))
    parts = [
        f"'{value}' is {kind or 'not known'} ({counted(count, 'file')})"
        for (value, kind), count in pairs.items()
        if value is not None
    ]
    where = survey.said(key).partition(":")[0]
    return f"{key} in {where}: {', '.join(parts)}"


def _asked(survey: Survey) -> ObservationTypes:
    candidates = [
        key
        for key in survey.keywords()
        if any(_plain(value) in _MEANING for value in survey.values(key) if isinstance(value, str))
    ]
    listed = ", ".join(candidates) or "none that has such words"
    question = Question(
        f"are these exposures {_KINDS.replace(', science', ' or science')}? (no keyword says it)",
        (
            "{value: dark}   all files are darks",
            "{key: MODE, lower: true, map: {closed: dark, open: science}}   "
            f"a keyword says it (here: {listed})",
            "{file: '(dark|flat)'}   the name of the file says it",
        ),
    )
    return ObservationTypes(Finding({"value": question}), (None,) * len(survey.looks))
