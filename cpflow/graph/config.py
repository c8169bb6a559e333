"""Configuration of a graph: typed values in layers, each remembering where it came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from cpflow.errors import ConfigurationError
from cpflow.options import Options


class GraphConfig(Options):
    """Base of a graph's ``Config``. Each field is one step's options."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Values from one place, as ``{"isr.defect": False}``; later layers win."""

    origin: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A graph's configuration, and for each value that is not a default, its origin."""

    config: GraphConfig
    origins: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return every value by its dotted key."""
        return flatten(self.config.model_dump(mode="json"))


def snake_key(key: str) -> str:
    """Return the dotted snake-case form of a key; the page's spelling works too.

    >>> snake_key("isr:doEmpiricalReadNoise")
    'isr.empirical_read_noise'
    """
    parts = re.split(r"[.:]", key.strip())
    return ".".join(_snake(part) for part in parts)


def _snake(part: str) -> str:
    if re.match(r"do[A-Z]", part):
        part = part[2:]
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", part).lower()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{snake_key(str(key))}"
        if isinstance(value, Mapping):
            out.update(flatten(value, f"{name}."))
        else:
            out[name] = value
    return out


def parse_assignments(assignments: Iterable[str], origin: str = "command line") -> Layer:
    """Parse ``key=value`` options.

    Raises
    ------
    ConfigurationError
        If one has no ``=`` or its value cannot be read.
    """
    import yaml

    values: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(
                f"cannot read configuration {text!r}", hint="write -c step.option=value"
            )
        try:
            parsed = yaml.safe_load(value) if value.strip() else None
        except yaml.YAMLError as error:
            raise ConfigurationError(
                f"cannot read the value of {text!r}",
                hint="a list is written as in key=[a, b], and quoted for the shell",
            ) from error
        if isinstance(parsed, str) and "," in parsed:
            parsed = [item.strip() for item in parsed.split(",") if item.strip()]
        values[snake_key(key)] = parsed
    return Layer(origin, values)


def load_layer(path: str | Path) -> Layer:
    """Read a configuration file.

    Raises
    ------
    ConfigurationError
        If the file cannot be read or is not a mapping.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read configuration file {path}: {error.strerror}",
            hint="-C takes a YAML file; -c key=value takes one value",
        ) from error
    except (UnicodeError, yaml.YAMLError) as error:
        raise ConfigurationError(
            f"configuration file {path} is not YAML: {' '.join(str(error).split())}",
            hint="write `key: value`, one a line; `cpflow graph show GRAPH --config` lists them",
        ) from error
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        raise ConfigurationError(
            f"configuration file {path} is not a mapping of keys to values",
            hint="write `key: value`, one a line; `cpflow graph show GRAPH --config` lists them",
        )
    return Layer(str(path), flatten(content))


def resolve(config_class: type[GraphConfig], layers: Sequence[Layer]) -> Resolved:
    """Put layers of values over a graph's defaults.

    Parameters
    ----------
    config_class : type
        The graph's ``Config``.
    layers : sequence of Layer
        Later ones win.

    Raises
    ------
    ConfigurationError
        If a key is unknown, with the nearest name, or a value has the wrong type.
    """
    values = config_class().model_dump()
    known = set(flatten(values))
    origins: dict[str, str] = {}
    for layer in layers:
        for key, value in layer.values.items():
            name = snake_key(key)
            if name not in known:
                raise _unknown(name, known, layer.origin, config_class)
            _assign(values, name.split("."), value)
            origins[name] = layer.origin
    try:
        return Resolved(config_class.model_validate(values), origins)
    except ValidationError as error:
        raise _invalid(error, origins) from error


def _assign(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        values = values[part]
    values[path[-1]] = value


def _unknown(
    name: str, known: set[str], origin: str, config_class: type[BaseModel]
) -> ConfigurationError:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    groups = sorted(key for key in known if key.startswith(name + "."))
    if groups:
        hint = f"{name} is a group; its values are {', '.join(groups[:8])}"
    elif close:
        hint = f"did you mean {' or '.join(close)}?"
    else:
        hint = f"its values are {', '.join(sorted(known))}"
    return ConfigurationError(f"{origin}: the graph has no configuration value {name!r}", hint=hint)


def _invalid(error: ValidationError, origins: Mapping[str, str]) -> ConfigurationError:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if isinstance(part, str))
        where = next((o for k, o in origins.items() if key == k or key.startswith(k + ".")), "")
        problems.append(
            f"{key}={item['input']!r}: {item['msg'].lower()}" + (f" ({where})" if where else "")
        )
    hint = "`cpflow graph show GRAPH --config` lists every value, with its default"
    if any("=" in str(item["input"]) for item in error.errors()):
        hint = "-c takes one value; give it again for the next: -c a=1 -c b=2"
    return ConfigurationError("configuration: " + "; ".join(problems), hint=hint)
