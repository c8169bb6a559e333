"""Exposures of one detector as a lazy stack."""

from cpflow.stack.beside import Beside, beside_of
from cpflow.stack.choice import Choice, each
from cpflow.stack.frame import Context, Failure, Frame, Measurement, Operation, Planes
from cpflow.stack.graph import TOGETHER, solve_together
from cpflow.stack.memo import Memo
from cpflow.stack.pairs import solve_pairs
from cpflow.stack.stack import Look, Stack, open_stack
from cpflow.stack.table import Column, tabulate
from cpflow.stack.tasks import BandStack, Source, halo_of

__all__ = [
    "TOGETHER",
    "BandStack",
    "Beside",
    "Choice",
    "Column",
    "Context",
    "Failure",
    "Frame",
    "Look",
    "Measurement",
    "Memo",
    "Operation",
    "Planes",
    "Source",
    "Stack",
    "beside_of",
    "each",
    "halo_of",
    "open_stack",
    "solve_pairs",
    "solve_together",
    "tabulate",
]
