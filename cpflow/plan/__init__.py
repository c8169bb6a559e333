"""From a graph, a repository and a query to a plan: lazy products, and what they will cost."""

from cpflow.plan.facts import Facts, Together, kind_of, task_keys, together_of
from cpflow.plan.making import make_plan
from cpflow.plan.memory import DEFAULT_TASK_MEMORY, choose_band_rows
from cpflow.plan.plan import Plan
from cpflow.plan.product import PlannedProduct
from cpflow.plan.projection import Projection, project
from cpflow.plan.promise import promise_key

__all__ = [
    "DEFAULT_TASK_MEMORY",
    "Facts",
    "Plan",
    "PlannedProduct",
    "Projection",
    "Together",
    "choose_band_rows",
    "kind_of",
    "make_plan",
    "project",
    "promise_key",
    "task_keys",
    "together_of",
]
