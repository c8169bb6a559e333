"""Sequences: lists of the observations to simulate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from pydantic import Field, field_validator

from cpflow.errors import ConfigurationError
from cpflow.options import Options
from cpflow.simulate.stars import StarField
from cpflow.simulate.truth import Truth
from cpflow.timespan import DAY, SECOND, Timespan, from_iso

ObservationType = Literal["bias", "dark", "flat", "science"]


class Observation(Options):
    """One exposure of a sequence."""

    day_obs: int
    """Observing day YYYYMMDD: the date, in TAI, twelve hours before the exposure begins."""
    seq_num: int = Field(ge=0, lt=100_000)
    type: ObservationType
    exposure_time: float = Field(default=0.0, ge=0)
    """Seconds."""
    dark_time: float | None = Field(default=None, ge=0)
    """Seconds; by default 0.03 s more than the exposure time of a bias, 0.25 s of all else."""
    filter: str = "empty~empty"
    target: str = "Park position"
    reason: str = ""
    program: str = "CALIBRATION"
    lamp: float = Field(default=0.0, ge=0)
    """Light of the flat-field screen in electron/s per pixel."""
    sky: float = Field(default=0.0, ge=0)
    """Light of the sky in electron/s per pixel."""
    sky_gradient: float = Field(default=0.0, ge=0)
    """Relative change of the sky from the middle of the detector to its edge."""
    fringe: float = Field(default=0.0, ge=0)
    """Amplitude of the fringes relative to the sky."""
    stars: StarField | None = None
    lists: tuple[str, ...] = ()
    """Names of the groups of the sequence that it belongs to."""

    @field_validator("day_obs")
    @classmethod
    def _a_date(cls, value: int) -> int:
        text = str(value)
        if not re.fullmatch(r"\d{8}", text):
            raise ValueError(f"day_obs must be YYYYMMDD, not {value}")
        date(int(text[:4]), int(text[4:6]), int(text[6:]))
        return value

    @property
    def id(self) -> int:
        """Day and sequence number as one integer: 2021012000019."""
        return self.day_obs * 100_000 + self.seq_num

    @property
    def lit(self) -> bool:
        """Whether any light falls on the detector."""
        return self.exposure_time > 0 and bool(self.lamp or self.sky or self.stars is not None)

    @property
    def dark_seconds(self) -> float:
        """Seconds between the last clear and the readout."""
        if self.dark_time is not None:
            return self.dark_time
        return round(self.exposure_time + (0.03 if self.type == "bias" else 0.25), 6)

    @property
    def timespan(self) -> Timespan:
        """[begin, end) in TAI, from 12:00 of the observing day on.

        Exposures follow one another by 84.375 s, those beyond the 1,023rd of a day by 1.318 s: in
        MJD 1/1024 and 1/65536, which a float holds exactly. Without light the end is when the
        dark time is over.
        """
        text = str(self.day_obs)
        noon = from_iso(f"{text[:4]}-{text[4:6]}-{text[6:]}T12:00:00", "tai")
        begin = noon + self.seq_num * DAY // (1024 if self.seq_num < 1024 else 65_536)
        length = self.exposure_time or self.dark_seconds
        return Timespan(begin, begin + max(1, round(length * SECOND)))


@dataclass(frozen=True)
class Sequence:
    """Observations in order, and the camera they are meant for.

    Parameters
    ----------
    observations : tuple of Observation
        No two may have the same day and sequence number.
    truth : Truth, optional
        Effects of the camera, if the caller of `cpflow.simulate.simulate` gives none.
    name : str, optional
        For messages.

    Raises
    ------
    ConfigurationError
        If an observation occurs twice.
    """

    observations: tuple[Observation, ...]
    truth: Truth = field(default_factory=Truth)
    name: str = "sequence"

    def __post_init__(self) -> None:
        seen: set[int] = set()
        for observation in self.observations:
            if observation.id in seen:
                raise ConfigurationError(
                    f"{self.name}: exposure {observation.id} occurs twice",
                    hint="use same_as to put an exposure into a second list",
                )
            seen.add(observation.id)

    def __iter__(self) -> Iterator[Observation]:
        return iter(self.observations)

    def __len__(self) -> int:
        return len(self.observations)

    def __add__(self, other: Sequence) -> Sequence:
        return Sequence(self.observations + other.observations, self.truth, self.name)

    def __repr__(self) -> str:
        kinds: dict[str, int] = {}
        for observation in self.observations:
            kinds[observation.type] = kinds.get(observation.type, 0) + 1
        listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        return f"<Sequence {self.name}: {listed or 'empty'}>"

    @property
    def lists(self) -> Mapping[str, tuple[int, ...]]:
        """Ids of the exposures of each named list, in the order of the observations."""
        named: dict[str, list[int]] = {}
        for observation in self.observations:
            for name in observation.lists:
                named.setdefault(name, []).append(observation.id)
        return {name: tuple(ids) for name, ids in named.items()}

    def select(self, *names: str) -> Sequence:
        """Return the observations that belong to any of the named lists.

        Raises
        ------
        ConfigurationError
            If the sequence has no such list.
        """
        unknown = set(names) - set(self.lists)
        if unknown:
            raise ConfigurationError(
                f"{self.name} has no list {', '.join(sorted(unknown))}",
                hint=f"its lists are {', '.join(self.lists) or 'none'}",
            )
        chosen = tuple(o for o in self.observations if set(names) & set(o.lists))
        return Sequence(chosen, self.truth, self.name)


def bias_sequence(
    count: int,
    day_obs: int = 20210121,
    first_seq_num: int = 1,
    *,
    dark_time: float = 0.03,
    target: str = "Park position",
    truth: Truth | None = None,
) -> Sequence:
    """List bias exposures of one day.

    Parameters
    ----------
    count : int
        How many.
    day_obs, first_seq_num : int
        Observing day, and the sequence number of the first.
    dark_time : float, optional
        Seconds.
    target : str, optional
        Target name of the headers.
    truth : Truth, optional
        The camera; by default bias level, drift, pattern, noise and gain only.

    Returns
    -------
    Sequence
    """
    observations = (
        Observation(
            day_obs=day_obs,
            seq_num=first_seq_num + i,
            type="bias",
            dark_time=dark_time,
            target=target,
            lists=("bias",),
        )
        for i in range(count)
    )
    return Sequence(tuple(observations), truth or Truth(), f"{count} biases")


def dark_sequence(
    count: int,
    exposure_time: float = 30.0,
    day_obs: int = 20210121,
    first_seq_num: int = 101,
    *,
    truth: Truth | None = None,
) -> Sequence:
    """List dark exposures of one day, all of one exposure time in seconds."""
    observations = (
        Observation(
            day_obs=day_obs,
            seq_num=first_seq_num + i,
            type="dark",
            exposure_time=exposure_time,
            lists=("dark",),
        )
        for i in range(count)
    )
    return Sequence(tuple(observations), truth or Truth(), f"{count} darks")
