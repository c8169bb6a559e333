"""Whether a night's verification is good enough to certify by (verification 5.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cpflow.daily.options import Acceptance
from cpflow.verify.summary import failure_names

_FAILED = ("fail", "no_data")


def accepted(table: Mapping[str, Any], options: Acceptance) -> tuple[bool, list[str]]:
    """Return whether a verification is accepted, and what failed.

    Parameters
    ----------
    table : mapping
        Columns of the verification of one product, waivers applied.
    options : Acceptance
        Strict: nothing required failed, and something was tested. Majority: most exposures pass,
        where an exposure fails if a test fails in a large part of its amplifiers, or in the
        detector as a whole; tests of the whole run count as an exposure of their own would, and
        have to pass.

    Returns
    -------
    bool
    list of str
        As "[exposure] [amplifier] TEST".
    """
    failures = failure_names(table, _FAILED)
    required = np.asarray(table["severity"]) == "required"
    if options.mode == "strict" or not failures:
        return not failures and bool(required.any()), failures
    exposures = np.unique(table["exposure"][required])
    bad = [_fails(table, required & (table["exposure"] == e), options) for e in exposures]
    of_run = [fails for e, fails in zip(exposures, bad, strict=True) if e < 0]
    single = [fails for e, fails in zip(exposures, bad, strict=True) if e >= 0]
    passed = sum(not fails for fails in single)
    enough = not single or passed > options.exposures * len(single)
    return enough and not any(of_run), failures


def _fails(table: Mapping[str, Any], rows: Any, options: Acceptance) -> bool:
    for test in np.unique(table["test"][rows]):
        own = rows & (table["test"] == test)
        failed = np.isin(table["verdict"][own], _FAILED)
        if failed.mean() >= options.per_test_amps:
            return True
    return False
