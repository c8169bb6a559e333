"""From a graph, a repository and a query to a plan: lazy products, and what they will cost."""

from cpflow.plan.making import make_plan
from cpflow.plan.memory import DEFAULT_TASK_MEMORY, choose_band_rows, size_text
from cpflow.plan.plan import Facts, Plan, PlannedProduct, task_keys
from cpflow.plan.promise import promise_key

__all__ = [
    "DEFAULT_TASK_MEMORY",
    "Facts",
    "Plan",
    "PlannedProduct",
    "choose_band_rows",
    "make_plan",
    "promise_key",
    "size_text",
    "task_keys",
]
