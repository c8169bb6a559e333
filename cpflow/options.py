"""Frozen, typed configuration values."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Base of every group of configuration values: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def __dask_tokenize__(self) -> tuple[str, str]:
        return type(self).__qualname__, self.model_dump_json()
