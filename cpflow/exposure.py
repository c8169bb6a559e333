"""What is known of an exposure and of its raw files once they are ingested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cpflow.timespan import Timespan


@dataclass(frozen=True, slots=True)
class Exposure:
    """The record of one exposure (design, section 3).

    A field that the header does not give is ``None``; `extra` keeps what an instrument file
    asks for beyond these.
    """

    instrument: str
    exposure: int
    """Integer id, unique within the instrument (up to 64 bits)."""
    obs_id: str
    day_obs: int
    """Observing day as an integer YYYYMMDD."""
    seq_num: int
    timespan: Timespan
    """[begin, end) in TAI; an instantaneous exposure is one nanosecond long."""
    observation_type: str
    physical_filter: str = "unknown"
    band: str | None = None
    exposure_time: float | None = None
    """Shutter-open time in seconds."""
    dark_time: float | None = None
    """Time between the end of the last clear and the readout, in seconds."""
    observation_reason: str | None = None
    target_name: str | None = None
    science_program: str | None = None
    group: str | None = None
    can_see_sky: bool | None = None
    tracking_ra: float | None = None
    """Degrees."""
    tracking_dec: float | None = None
    """Degrees."""
    azimuth: float | None = None
    """Degrees."""
    zenith_angle: float | None = None
    """Degrees."""
    has_simulated: bool = False
    extra: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawFile:
    """One detector of one exposure, as a file.

    `layout` says where each amplifier's pixels lie (`cpflow.io.layout`), so that a band of rows is
    read without parsing a header again. It is JSON-able.
    """

    instrument: str
    exposure: int
    detector: int
    path: str
    """Absolute, or relative to the repository's root when the file lies inside it."""
    size: int
    """Bytes."""
    checksum: str
    """``sha256:<hex>`` of the whole file."""
    layout: Mapping[str, object]
