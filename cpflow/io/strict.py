"""The base of the models of an instrument file: frozen, with helpful refusals of unknown keys."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """A frozen model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = [str(key) for key in data if key not in cls.model_fields]
            if unknown:
                near = difflib.get_close_matches(unknown[0], cls.model_fields, 1, 0.5)
                meant = f"did you mean {near[0]!r}?" if near else "known: "
                known = "" if near else ", ".join(cls.model_fields)
                raise ValueError(f"there is no key {unknown[0]!r} here; {meant}{known}")
        elif not isinstance(data, BaseModel):
            keys = ", ".join(f"{key}: ..." for key in cls.model_fields)
            raise ValueError(f"keys with values are wanted here, as {{{keys}}}")
        return data
