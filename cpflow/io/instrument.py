"""Instruments: a camera, what its headers mean, and values that belong to it, from one YAML file.

`configs/instruments/` has examples; `cpflow.io.schema` and `cpflow.io.rules` say what a file may
hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpflow.camera import Camera, Detector
from cpflow.errors import InstrumentError
from cpflow.io.geometry import detector_from_geometry, geometry_of
from cpflow.share import share_directory

if TYPE_CHECKING:
    from cpflow.io.rules import HeaderRules
    from cpflow.io.schema import HeaderGeometryModel

__all__ = [
    "Instrument",
    "detector_from_geometry",
    "dump_instrument",
    "geometry_of",
    "instrument_files",
    "instrument_names",
    "load_instrument",
    "scaled",
]

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, repr=False)
class Instrument:
    """One instrument, as its file describes it.

    Parameters
    ----------
    name : str
    camera : Camera
        Without detectors if only the headers of each file describe them (`header_geometry`).
    rules : HeaderRules
        How a header becomes an exposure record.
    overlays : mapping of str to mapping
        Configuration values for each graph; ``"*"`` is for all graphs.
    thresholds : mapping
        Limits of verification tests.
    definition : dict
        What it was made from, JSON-able; `from_definition` rebuilds it.
    source : str
        Path of the file.
    header_geometry : HeaderGeometryModel or None
        Keywords that give the geometry, if the headers do.
    """

    name: str
    camera: Camera
    rules: HeaderRules
    overlays: Mapping[str, Mapping[str, Any]]
    thresholds: Mapping[str, Any]
    definition: dict[str, Any]
    source: str = ""
    header_geometry: HeaderGeometryModel | None = None

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any], source: str = "") -> Instrument:
        """Build an instrument from what its file holds.

        Raises
        ------
        InstrumentError
            Naming the file, the key, and what is wrong there.
        """
        from pydantic import ValidationError

        from cpflow.io.camera_definition import build_camera
        from cpflow.io.schema import HeaderGeometryModel, InstrumentModel

        shown = source or "instrument definition"
        try:
            model = InstrumentModel.model_validate(definition)
            camera = build_camera(model)
        except ValidationError as error:
            raise InstrumentError(f"{shown}: {_first_problem(error)}") from error
        except InstrumentError as error:
            raise InstrumentError(f"{shown}: {error.message}", hint=error.hint) from error
        dumped = model.model_dump(mode="json", exclude_defaults=True)
        in_header = model.geometry == "header"
        return cls(
            name=model.name,
            camera=camera,
            rules=model.headers,
            overlays=dumped.get("overlays", {}),
            thresholds=dumped.get("thresholds", {}),
            definition=dumped,
            source=source,
            header_geometry=(model.header_geometry or HeaderGeometryModel()) if in_header else None,
        )

    def extension_names(self, detector: Detector) -> dict[str, str]:
        """Return the EXTNAME that each amplifier's HDU should have, where the file says so."""
        entries = self.definition.get("types", {}).get(detector.type, {}).get("amplifiers", [])
        return {e["name"]: e["extname"] for e in entries if "extname" in e}

    def __repr__(self) -> str:
        count = len(self.camera.detectors)
        shown = "geometry from headers" if self.header_geometry else f"{count} detectors"
        return f"<Instrument {self.name}: {shown}>"


def _first_problem(error: Any) -> str:
    problems = error.errors(include_url=False, include_input=False)
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def _directories() -> Iterator[Path]:
    for entry in os.environ.get("CPFLOW_PATH", "").split(os.pathsep):
        if entry:
            yield Path(entry) / "configs" / "instruments"
            yield Path(entry) / "instruments"
    yield share_directory("configs") / "instruments"


def instrument_files() -> dict[str, Path]:
    """Return instrument files by lower-case name; a directory that is searched earlier wins."""
    found: dict[str, Path] = {}
    for directory in _directories():
        if directory.is_dir():
            for path in sorted(directory.iterdir()):
                if path.suffix in _SUFFIXES:
                    found.setdefault(path.stem.lower(), path)
    return found


def instrument_names() -> list[str]:
    """Return the names that `load_instrument` finds, from ``$CPFLOW_PATH`` and the shipped ones."""
    return sorted(instrument_files())


def load_instrument(name_or_path: str | Path) -> Instrument:
    """Load an instrument.

    Parameters
    ----------
    name_or_path : str or path
        Path of an instrument file; or a name, in any letter case, that is looked for in
        ``configs/instruments`` and ``instruments`` of each directory of ``$CPFLOW_PATH`` and then
        among the shipped ones.

    Raises
    ------
    InstrumentError
        If there is no such instrument, its file is not sound, or it still has placeholders.
    """
    text = str(name_or_path)
    path = Path(text)
    if path.suffix.lower() not in _SUFFIXES and os.sep not in text:
        found = instrument_files()
        if text.lower() not in found:
            raise InstrumentError(
                f"there is no instrument {text!r}",
                hint=f"known: {', '.join(sorted(found))}; or name a file ending in .yaml",
            )
        path = found[text.lower()]
    return Instrument.from_definition(_read_yaml(path), str(path))


def _read_yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    from cpflow.io.placeholders import check_filled_in
    from cpflow.io.yaml_text import load_yaml

    try:
        text = path.read_text(encoding="utf-8")
        content = load_yaml(text)
        check_filled_in(text, str(path))
    except OSError as error:
        raise InstrumentError(
            f"{path}: {error.strerror or error}",
            hint="`cpflow instrument list` shows those that can be named",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InstrumentError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InstrumentError(
            f"{path}: an instrument file is a mapping of keys to values",
            hint="`cpflow instrument new PATH_OF_RAWS` writes one",
        )
    return content


def dump_instrument(instrument: Instrument, path: str | Path) -> None:
    """Write an instrument as a YAML file that `load_instrument` reads back."""
    from cpflow.io.yaml_text import dump_yaml

    Path(path).write_text(dump_yaml(instrument.definition), encoding="utf-8")


def scaled(instrument: Instrument, factor: float) -> Instrument:
    """Return the same camera with imaging areas smaller by `factor` along both axes.

    Prescans stay as they are; overscans shrink too, but keep at least 16 columns or rows, or all
    that they had.

    Raises
    ------
    InstrumentError
        If the camera's geometry is in its headers, or its amplifiers are not on a grid.
    """
    from cpflow.io.scaling import scaled_definition

    return Instrument.from_definition(
        scaled_definition(instrument.definition, factor), instrument.source
    )
