"""What is done with a night; read from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from cpflow.errors import ConfigurationError
from cpflow.options import Options
from cpflow.products import VERIFIED, product_name
from cpflow.registry.where import parse
from cpflow.share import share_directory


class Step(Options):
    """One product of a night."""

    product: str
    where: str
    """Which exposures of the night it is about."""
    min_exposures: int = Field(3, ge=1)
    """With fewer nothing is done."""
    external: bool = True
    """Verify what is in force with the night's exposures."""
    build: bool = True
    """Build a product from the night's exposures, and verify it with them."""
    certify: bool = False
    """Certify what was built for the observing day, if it is accepted."""
    config: Mapping[str, Any] = Field(default_factory=dict)
    """Values of the graph that builds, as ``{isr.defect: false}``."""
    verify_config: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("product")
    @classmethod
    def _verified(cls, name: str) -> str:
        product = product_name(name)
        if product not in VERIFIED:
            raise ValueError(f"a {product} is not verified, so a night cannot decide about it")
        return product

    @field_validator("where")
    @classmethod
    def _a_query(cls, text: str) -> str:
        if parse(text).tree is None:
            raise ValueError("it is empty: say which exposures, as observation_type='bias'")
        return text


class Acceptance(Options):
    """When a product of the night is certified."""

    mode: Literal["strict", "majority"] = "strict"
    """Every required test of every exposure passes; or most exposures do."""
    exposures: float = Field(0.5, gt=0, le=1)
    """Majority: more than this fraction of the exposures has to pass."""
    per_test_amps: float = Field(0.5, gt=0, le=1)
    """Majority: an exposure fails where a test fails in at least this fraction of amplifiers."""


class Baseline(Options):
    """What is usual: nights before, whatever their limits."""

    nights: int = Field(30, ge=3)
    mads: float = Field(5.0, gt=0)
    """A statistic is unusual beyond so many median absolute deviations, as standard deviations."""
    fewest: int = Field(5, ge=3)
    """With fewer nights nothing is usual."""


class DailyOptions(Options):
    """What is done with a night."""

    instrument: str
    calibrations: tuple[str, ...] = ()
    """What is in force, in search order; by default ``<instrument>/calib``."""
    collection: str = "{instrument}/calib/daily/{product}"
    """Where products of a day are certified."""
    runs: str = "{instrument}/daily/{day_obs}"
    """Where their RUNs are."""
    steps: tuple[Step, ...] = Field(min_length=1)
    acceptance: Acceptance = Acceptance()
    baseline: Baseline = Baseline()

    @property
    def search_path(self) -> tuple[str, ...]:
        """Collections with what is in force."""
        return self.calibrations or (f"{self.instrument}/calib",)

    def collection_of(self, product: str) -> str:
        """Return the collection that products of a day are certified in."""
        return self.collection.format(instrument=self.instrument, product=product)

    def runs_of(self, day_obs: int) -> str:
        """Return what the RUNs of a night begin with."""
        return self.runs.format(instrument=self.instrument, day_obs=day_obs)


def load_daily(name: str) -> DailyOptions:
    """Read what is done with a night, by the name of a shipped file or by path.

    Raises
    ------
    ConfigurationError
        If there is none, or it is not sound.
    """
    import yaml

    path = Path(name)
    directory = share_directory("configs") / "daily"
    if path.suffix not in (".yaml", ".yml"):
        path = directory / f"{name.lower()}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in directory.glob("*.yaml")))
        raise ConfigurationError(
            f"there is no description of a night {name!r}",
            hint=f"copy a shipped one ({names}) and name the copy with --config",
        )
    try:
        return DailyOptions.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'all of it'}: {item['msg'].lower()}"
            for item in error.errors()
        )
        raise ConfigurationError(
            f"{path}: {problems}", hint=f"compare it with {directory / 'latiss.yaml'}"
        ) from error
    except (UnicodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"{path} is not YAML: {' '.join(str(error).split())}",
            hint=f"compare it with {directory / 'latiss.yaml'}",
        ) from error
