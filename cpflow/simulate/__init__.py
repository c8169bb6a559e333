"""A camera whose truth is known: raw exposures simulated from parameters that are stored.

>>> from cpflow.simulate import bias_sequence, simulate          # doctest: +SKIP
>>> simulate(Path("raw"), load_instrument("latiss"), bias_sequence(20), seed=1)   # doctest: +SKIP
"""

from cpflow.simulate.run import Simulation, simulate
from cpflow.simulate.sequence import Observation, Sequence, bias_sequence, dark_sequence
from cpflow.simulate.sequence_file import load_sequence
from cpflow.simulate.truth import Truth
from cpflow.simulate.truth_store import open_truth

__all__ = [
    "Observation",
    "Sequence",
    "Simulation",
    "Truth",
    "bias_sequence",
    "dark_sequence",
    "load_sequence",
    "open_truth",
    "simulate",
]
