"""What certification asks of a product: `policy` in ``cpflow.yaml``.

``warn``, the default, certifies what is not verified and says so: calibrations are certified to
temporary collections before they are verified. ``require`` refuses it unless a reason is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpflow.errors import UsageError

POLICIES = ("warn", "require")
KEY = "policy"


def check_policy(name: str) -> str:
    """Return the name of a policy.

    Raises
    ------
    UsageError
        If there is no such policy.
    """
    if name not in POLICIES:
        raise UsageError(
            f"there is no policy {str(name)[:40]!r} of certification",
            hint=f"one of {', '.join(POLICIES)}, in cpflow.yaml or by 'cpflow policy REPO NAME'",
        )
    return name


def policy_in(config: Mapping[str, Any]) -> str:
    """Return the policy that the configuration of a repository has."""
    return check_policy(config.get(KEY, POLICIES[0]))
