"""An error from deep inside a task, as an endless recursion, comes to the client at all.

Dask sends an error with its traceback, and pickles that link by link: one of some hundred frames
cannot be sent. The client is then sent a text that it does not expect, gives up on the message, and
waits for the task for ever (distributed 2026.8, `distributed.core.clean_exception`).
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from dask._task_spec import GraphNode, Task

# Frames; of about three hundred, pickle itself recurses too deeply.
_DEEPEST = 100
_SHOWN = 3


def sendable(node: GraphNode) -> GraphNode:
    """Return a task whose errors can be sent, whatever they are."""
    if type(node) is not Task:
        return node
    return Task(node.key, _shallow, node.func, *node.args, **node.kwargs)


def _shallow(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if len(frames) < _DEEPEST and not isinstance(error, RecursionError):
            raise
        deep = error
    # Out of the handler, or all frames would come along as its context.
    deep.__cause__ = deep.__context__ = None
    last = "".join(traceback.format_list(frames[-_SHOWN:]))
    deep.add_note(f"{len(frames)} calls deep; the last of them:\n{last}")
    raise deep.with_traceback(None)
