"""What happens during a run, as one stream that progress bars, logs and notebooks listen to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from cpflow.errors import CpflowError

Kind = Literal[
    "run_started",
    "cluster",
    "kept",
    "resumed",
    "started",
    "progress",
    "finished",
    "failed",
    "blocked",
    "published",
    "run_ended",
]

_SHOWN = 20


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    ============ =====================================================================
    kind         fields
    ============ =====================================================================
    run_started  `total` products of the graph `text`; `done` attempts were before
    cluster      `text` is the address of the dashboard of the cluster that it runs on
    kept         a product was published by an earlier attempt
    resumed      `done` of `total` parts of a product are there already
    started      `total` tasks of a product will be run, which read `size` bytes
    progress     `done` of `total` tasks of a product are run, the last of them `key`
    finished     all are
    failed       a product cannot be made: `text`, `exposure`, `file`, `hint`
    blocked      a product is not made as another one, that it needs, failed
    published    the dataset `product` is in the RUN `text`
    run_ended    `text` says how: see `cpflow.scheduler.tally.State`; `hint` says why
    ============ =====================================================================

    `product` is the label of the product that it is about, `detector` its detector. Events of
    several products interleave.
    """

    kind: Kind
    product: str = ""
    done: int = 0
    total: int = 0
    text: str = ""
    key: str = ""
    detector: int | None = None
    exposure: int | None = None
    file: str | None = None
    hint: str | None = None
    size: int = 0
    run: str = ""
    time: datetime = field(default_factory=now)

    @classmethod
    def of_error(
        cls, kind: Kind, product: str, error: CpflowError, *, detector: int | None = None
    ) -> Event:
        """Return the event that something failed, with what the error knows of the place.

        Of several exposures that cannot be used it is the place of the first.
        """
        causes = getattr(error, "causes", ())
        first = causes[0] if causes else error
        text = error.message if first is error else f"{error.message}: {first.message}"
        others = [e for one in causes[1:] if (e := getattr(one, "exposure", None)) is not None]
        if others:
            text += f"; also {', '.join(map(str, others[:_SHOWN]))}"
            text += " and more" if len(others) > _SHOWN else ""
        known = getattr(first, "detector", None)
        return cls(
            kind,
            product,
            text=text,
            detector=detector if known is None else known,
            exposure=getattr(first, "exposure", None),
            file=getattr(first, "file", None),
            hint=error.hint or first.hint,
        )


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""


def fan_out(*listeners: Listener) -> Listener:
    """Return a listener that passes each event on to several, in this order."""

    def listen(event: Event) -> None:
        for one in listeners:
            one(event)

    return listen


def named(run: str, listener: Listener) -> Listener:
    """Return a listener that passes events on with the name of their run."""

    def listen(event: Event) -> None:
        listener(replace(event, run=run))

    return listen


def time_text(time: datetime) -> str:
    """Return a time as UTC to the millisecond, ISO 8601 with a Z."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# Always there, in this order; the others where they say something.
_ALWAYS = ("run", "kind", "product", "detector", "done", "total", "key", "text")
_SOMETIMES = ("exposure", "file", "hint", "size")


def event_line(event: Event) -> str:
    """Return an event as one line of JSON."""
    values: dict[str, Any] = {"time": time_text(event.time)}
    values.update({name: getattr(event, name) for name in _ALWAYS})
    values.update({name: value for name in _SOMETIMES if (value := getattr(event, name))})
    return json.dumps(values, ensure_ascii=False)


def read_event(line: str) -> Event:
    """Return the event of one line of JSON.

    Raises
    ------
    ValueError
        If the line is none.
    """
    try:
        values = json.loads(line)
        time = datetime.fromisoformat(values.pop("time"))
        # A later version may say more.
        known = {name: values[name] for name in (*_ALWAYS, *_SOMETIMES) if name in values}
        return Event(**known, time=time)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not an event: {line[:80]!r}") from error
