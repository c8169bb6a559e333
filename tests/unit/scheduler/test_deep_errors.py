"""Errors of tasks that Dask cannot send come to the client all the same."""

from __future__ import annotations

import traceback

import pytest
from dask._task_spec import DataNode, Task
from dask.delayed import Delayed
from distributed import Client, LocalCluster

from cpflow.scheduler.deep_errors import sendable


def run(function, *arguments, **options):
    """Call a task as a scheduler does."""
    return sendable(Task("key", function, *arguments, **options))()


def recursing(n=0):
    return recursing(n + 1)


def descending(n):
    if n == 0:
        raise KeyError("at the bottom")
    return descending(n - 1)


def test_what_a_task_returns_and_raises_is_what_it_was():
    assert run(divmod, 7, 2) == (3, 1)
    assert run(sorted, [2, 3, 1], reverse=True) == [3, 2, 1]
    with pytest.raises(ZeroDivisionError) as caught:
        run(divmod, 7, 0)
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(KeyError) as caught:
        run(descending, 20)
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 20
    node = DataNode("data", 1)
    assert sendable(node) is node


@pytest.mark.parametrize(
    ("function", "arguments", "kind"),
    [(recursing, (), RecursionError), (descending, (300,), KeyError)],
)
def test_a_deep_error_says_where_it_is_from_in_few_frames(function, arguments, kind):
    with pytest.raises(kind) as caught:
        run(function, *arguments)
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 20
    (note,) = caught.value.__notes__
    assert "calls deep; the last of them" in note
    assert f"in {function.__name__}" in note


def test_it_comes_from_a_worker():
    # A function that the worker has, too.
    task = Task("deep", eval, "(lambda f: f(f))(lambda f: f(f))")
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        future = client.compute(Delayed("deep", {"deep": sendable(task)}))
        error = future.exception(timeout=30)
    assert isinstance(error, RecursionError)
    assert "calls deep" in error.__notes__[0]
