"""Sequence files: lists of observations in YAML.

::

    name: two lists
    truth: {dark: {rate: 0.05}, cosmic_rays: {}}     # effects with their sizes; {} is the default
    defaults: {filter: empty~empty}                  # for all entries
    observations:
      - {list: bias, type: bias, day_obs: 20210121, first_seq_num: 1, count: 20}
      - {list: ptc, type: flat, lamp: 9000, exposures: [2021012100101, 2021012100102],
         exposure_time: [0.5, 1.0], repeat: 2}       # one after the other, each for two exposures
      - {list: flat, same_as: ptc, exposures: [2021012100101]}    # the same exposure in two lists
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from cpflow.errors import ConfigurationError
from cpflow.io.yaml_text import load_yaml
from cpflow.options import Options
from cpflow.share import share_directory
from cpflow.simulate.sequence import Observation, Sequence
from cpflow.simulate.truth import Truth

_PER_EXPOSURE = ("exposure_time", "dark_time")


class Entry(Options):
    """Observations that have most in common; other keys are those of `Observation`."""

    list: str
    """Name by which the group can be selected."""
    exposures: tuple[int, ...] | None = None
    """Ids, ``day_obs * 100000 + seq_num``."""
    day_obs: int | None = None
    first_seq_num: int = 1
    count: int | None = Field(default=None, ge=1)
    repeat: int = Field(default=1, ge=1)
    """How many exposures in a row take each value of a list of times."""
    same_as: str | None = None
    """Name of an earlier group that its exposures belong to as well."""
    values: dict[str, Any] = Field(default_factory=dict)
    """Keys of `Observation`; written beside the others, not below `values`."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        own = set(cls.model_fields) - {"values"}
        return {
            **{key: value for key, value in data.items() if key in own},
            "values": {key: value for key, value in data.items() if key not in own},
        }

    @model_validator(mode="after")
    def _complete(self) -> Entry:
        counted = self.day_obs is not None and self.count is not None
        if counted == (self.exposures is not None):
            raise ValueError("needs either `exposures`, or `day_obs` and `count`")
        if self.same_as is not None and self.values:
            raise ValueError("`same_as` takes all else from the other list")
        return self

    def ids(self) -> tuple[int, ...]:
        """Return the ids of its exposures."""
        if self.exposures is not None:
            return self.exposures
        first = (self.day_obs or 0) * 100_000 + self.first_seq_num
        return tuple(range(first, first + (self.count or 0)))

    def observations(self, defaults: Mapping[str, Any]) -> Iterator[Observation]:
        """Yield its observations; `defaults` stand for keys that it lacks."""
        for i, id_ in enumerate(self.ids()):
            values = {**defaults, **self.values}
            for name in _PER_EXPOSURE:
                if isinstance(values.get(name), list):
                    dealt = values[name]
                    values[name] = dealt[i // self.repeat % len(dealt)]
            day_obs, seq_num = divmod(id_, 100_000)
            identity = {"day_obs": day_obs, "seq_num": seq_num, "lists": (self.list,)}
            yield Observation.model_validate(values | identity)


class SequenceFile(Options):
    """A whole file."""

    name: str = ""
    description: str = ""
    truth: Truth = Truth()
    defaults: dict[str, Any] = Field(default_factory=dict)
    observations: tuple[Entry, ...] = Field(min_length=1)


def load_sequence(name_or_path: str | Path) -> Sequence:
    """Load a sequence.

    Parameters
    ----------
    name_or_path : str or path
        Path of a sequence file; or a name that is looked for in ``configs/sequences`` and
        ``sequences`` of each directory of ``$CPFLOW_PATH``, then among the shipped ones.

    Returns
    -------
    Sequence

    Raises
    ------
    ConfigurationError
        If there is no such sequence, or its file is not sound; names file and key.
    """
    path = _find(str(name_or_path))
    where = ""
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
        model = SequenceFile.model_validate(content)
        observations: dict[int, Observation] = {}
        for entry in model.observations:
            where = f"list {entry.list}: "
            if entry.same_as is not None:
                _share(entry, observations, path)
                continue
            for observation in entry.observations(model.defaults):
                if observation.id in observations:
                    raise ConfigurationError(
                        f"{path}: exposure {observation.id} is in two lists",
                        hint=f"say same_as in {entry.list!r}",
                    )
                observations[observation.id] = observation
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise ConfigurationError(
            f"{path}: {error.strerror or error}", hint="--bias 20 simulates without a file"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{path}: {where}{key}: {first['msg']}") from error
    return Sequence(tuple(observations.values()), model.truth, model.name or path.stem)


def _share(entry: Entry, observations: dict[int, Observation], path: Path) -> None:
    """Put exposures of an earlier list into another one as well."""
    for id_ in entry.ids():
        known = observations.get(id_)
        if known is None or entry.same_as not in known.lists:
            raise ConfigurationError(
                f"{path}: {entry.list}: list {entry.same_as!r} has no exposure {id_}"
            )
        lists = (*known.lists, entry.list)
        observations[id_] = known.model_copy(update={"lists": lists})


def _find(text: str) -> Path:
    if Path(text).suffix in (".yaml", ".yml") or os.sep in text:
        return Path(text)
    roots = [Path(entry) for entry in os.environ.get("CPFLOW_PATH", "").split(os.pathsep) if entry]
    places = [root / below for root in roots for below in ("configs/sequences", "sequences")]
    places.append(share_directory("configs") / "sequences")
    for place in places:
        if (place / f"{text.lower()}.yaml").is_file():
            return place / f"{text.lower()}.yaml"
    known = sorted({path.stem for place in places for path in place.glob("*.yaml")})
    raise ConfigurationError(
        f"there is no sequence {text!r}",
        hint=f"known: {', '.join(known) or 'none'}; or name a file ending in .yaml",
    )
