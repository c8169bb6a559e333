"""Write findings as YAML with comments, and questions as placeholders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from cpflow.io.instrument_survey.findings import Finding, Question, Remark, Tree
from cpflow.io.placeholders import MARK

_COLUMN: Final = 42
"""Where comments behind a value begin, if there is room."""
_WIDTH: Final = 110
_FLOW: Final = 76
"""Longest value of a key that stands on one line."""
_LINE: Final = 120
"""Longest item of a list that does: amplifiers are a table."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(tree: Tree) -> str:
    """Return a tree of findings as YAML; a blank line parts the first level."""
    parts: list[str] = []
    simple = True
    for key, value in tree.items():
        lines = list(_entry(key, value, ""))
        alone = len(lines) == 1
        if parts and not (alone and simple):
            parts.append("")
        parts += lines
        simple = alone
    return "\n".join(parts) + "\n"


def _entry(key: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Remark):
        yield from _remark(value.text, indent)
        return
    finding = value if isinstance(value, Finding) else Finding(value)
    yield from _above(finding, indent)
    content = finding.value
    if isinstance(content, Question):
        yield from _question(f"{indent}{_scalar(key)}:", content)
    elif isinstance(content, Mapping) and content and not _is_flow(content):
        yield from _lined(f"{indent}{_scalar(key)}:", finding.source, indent)
        for name, item in content.items():
            yield from _entry(name, item, indent + "  ")
    elif isinstance(content, list | tuple) and content and not _is_flow(content):
        yield from _lined(f"{indent}{_scalar(key)}:", finding.source, indent)
        for item in content:
            yield from _item(item, indent + "  ")
    else:
        yield from _lined(f"{indent}{_scalar(key)}: {flow(content)}", finding.source, indent)


def _item(value: Any, indent: str) -> Iterator[str]:
    finding = value if isinstance(value, Finding) else Finding(value)
    content = finding.value
    lines: list[str] = []
    if isinstance(content, Question):
        yield from _above(finding, indent)
        yield from _answers(content, indent)
        yield f"{indent}- {_placeholder(content)}"
    elif isinstance(content, Mapping):
        yield from _above(finding, indent)
        questions = [v for v in content.values() if isinstance(v, Question)]
        for question in questions:
            yield from _answers(question, indent)
        bare = {k: _bare(v) for k, v in content.items()}
        if all(_is_plain(v) for v in bare.values()) and len(flow(bare)) <= _LINE:
            yield from _lined(f"{indent}- {flow(bare)}", finding.source, indent)
            return
        for name, item in content.items():
            lines += _entry(name, item, indent + "  ")
        yield f"{indent}- {lines[0].strip()}"
        yield from lines[1:]
    else:
        yield from _above(finding, indent)
        yield from _lined(f"{indent}- {flow(content)}", finding.source, indent)


def _bare(value: Any) -> Any:
    return f"{MARK}: {value.text}" if isinstance(value, Question) else value


def _question(head: str, question: Question) -> Iterator[str]:
    indent = head[: len(head) - len(head.lstrip())]
    yield from _answers(question, indent)
    yield f"{head} {_placeholder(question)}"


def _answers(question: Question, indent: str) -> Iterator[str]:
    if question.answers:
        yield f"{indent}# To be filled in, for instance:"
        for answer in question.answers:
            yield from _remark(f"  {answer}", indent)


def _placeholder(question: Question) -> str:
    return flow(f"{MARK}: {question.text}")


def _above(finding: Finding, indent: str) -> Iterator[str]:
    for note in finding.notes:
        yield from _remark(note, indent)


def _remark(text: str, indent: str) -> Iterator[str]:
    clean = _printable(text, keep_spaces=True)
    room = max(_WIDTH - len(indent) - 2, 40)
    inner = " " * (len(clean) - len(clean.lstrip()))
    words, line = clean.strip(), ""
    while len(inner + words) > room:
        cut = words.rfind(" ", 0, room - len(inner))
        cut = cut if cut > 0 else len(words)
        line, words = words[:cut], words[cut:].strip()
        yield f"{indent}# {inner}{line}"
        if not words:
            return
        inner = inner or ""
    yield f"{indent}# {inner}{words}"


def _lined(text: str, source: str, indent: str) -> Iterator[str]:
    """Yield a line with its source behind it, or above it if there is no room."""
    said = _printable(source)
    if not said:
        yield text
        return
    padded = text.ljust(_COLUMN)
    if len(padded) + 4 + len(said) <= _WIDTH:
        yield f"{padded}  # {said}"
    else:
        yield from _remark(said, indent)
        yield text


def _printable(text: str, *, keep_spaces: bool = False) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean.rstrip() if keep_spaces else " ".join(clean.split())


def _is_plain(value: Any) -> bool:
    """Whether a value holds no finding, question or remark."""
    if isinstance(value, Finding | Question | Remark):
        return False
    if isinstance(value, Mapping):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return True


def _is_flow(value: Any) -> bool:
    """Whether a value stands on one line."""
    nested = isinstance(value, list | tuple) and any(isinstance(i, Mapping) for i in value)
    one = not nested or len(value) == 1
    return _is_plain(value) and one and len(flow(value)) <= _FLOW


def _scalar(key: str) -> str:
    return flow(key)


def flow(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.dump(
        plain,
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=10**6,
    )
    return text.removesuffix("...\n").rstrip("\n")
