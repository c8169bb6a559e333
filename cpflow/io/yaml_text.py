"""YAML in and out: safe, with duplicate keys refused, and short lists on one line."""

from __future__ import annotations

from typing import Any

import yaml

_WIDTH = 100


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        # Looked at before keys merged with "<<" come in, which others may well override.
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            if isinstance(key.value, str):
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _short(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flow = all(_short(item) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


def _represent_dict(dumper: yaml.SafeDumper, data: dict[str, Any]) -> yaml.Node:
    # A mapping of plain values (a box, an amplifier's row) reads best on one line.
    flat = all(
        _short(v) or (isinstance(v, list) and all(_short(i) for i in v)) for v in data.values()
    )
    flow = flat and len(str(data)) < _WIDTH
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=flow)


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(dict, _represent_dict)


def load_yaml(text: str) -> Any:
    """Read YAML; a key given twice in one mapping is refused.

    Raises
    ------
    yaml.YAMLError
        If the text is not YAML.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader


def dump_yaml(value: Any) -> str:
    """Write YAML with keys in their order."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)
    return text
