"""The language of data queries: ``instrument='LATISS' AND exposure IN (1..7:2)`` (spec 4).

`parse` turns text into a tree (`ast`), `compile` turns the tree into SQL with bound parameters,
for the fields of a `scope`. Nothing is evaluated as Python or pasted into SQL.
"""

from cpflow.registry.where.ast import Where
from cpflow.registry.where.parse import parse

__all__ = ["Where", "parse"]
