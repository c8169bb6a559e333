"""A drawing of a plan: its passes, how many tasks each has, and what flows between them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from cpflow.plan import Plan, task_keys
from cpflow.report.pictures import save
from cpflow.sizes import size_text


def draw_plan(plan: Plan, path: Path) -> None:
    """Write a drawing of a plan as PNG, SVG or PDF."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.7 + 1.1 * len(plan.products[:4])), layout="constrained")
    axes = figure.subplots(len(plan.products[:4]), 1, squeeze=False)
    shown = f", first 4 of {len(plan.products)} products" if len(plan.products) > 4 else ""
    figure.suptitle(f"{plan.graph.name}: {plan.graph.title}{shown}")
    for axis, product in zip(axes[:, 0], plan.products[:4], strict=True):
        _draw_product(axis, product)
    save(figure, path)


def _draw_product(axes: Any, product: Any) -> None:
    facts = product.facts
    kinds = Counter(
        "-".join(str(key).split("-")[:2])
        for key in task_keys(product.dataset)
        if str(key).startswith("measure-")
    )
    boxes = [(f"{facts.exposures} raw frames", f"{size_text(facts.bytes_to_read)} read in all")]
    boxes += [(f"measure {k.partition('-')[2]}", f"{n} tasks") for k, n in kinds.items()]
    boxes.append(
        (f"{facts.bands} bands of {facts.band_rows} rows", f"{size_text(facts.task_memory)} a task")
    )
    boxes.append((product.label, f"{size_text(facts.finish_memory)} to finish"))
    for i, (title, note) in enumerate(boxes):
        axes.text(
            i,
            0.5,
            f"{title}\n{note}",
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.6", "facecolor": "#eef3f8", "edgecolor": "#4a6b8a"},
        )
        if i:
            axes.annotate(
                "", xy=(i - 0.37, 0.5), xytext=(i - 0.63, 0.5), arrowprops={"arrowstyle": "->"}
            )
    axes.set_xlim(-0.6, len(boxes) - 0.4)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
