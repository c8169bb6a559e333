"""What happens during a run, as a stream that progress bars, logs and notebooks listen to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    `product` is the label of the product it is about; `done` of `total` tasks are finished.
    """

    kind: Literal["started", "resumed", "progress", "finished", "failed", "published"]
    product: str
    done: int = 0
    total: int = 0
    text: str = ""


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
