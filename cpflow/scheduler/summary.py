"""What the log says of a product that is finished."""

from __future__ import annotations

import logging

from cpflow.plan import PlannedProduct
from cpflow.scheduler.finish import Finished
from cpflow.verify.summary import sentence

logger = logging.getLogger(__name__)


def log_summary(product: PlannedProduct, result: Finished) -> None:
    """Log the numbers that a person looks at first."""
    where = {"detector": product.detector.id}
    if "verdict" in result.summary:
        level = logging.INFO if result.summary["verdict"] == "pass" else logging.WARNING
        logger.log(level, "%s: %s", product.label, sentence(result.summary), extra=where)
        return
    for amplifier, noise in result.summary.get("read_noise_adu", {}).items():
        logger.info(
            "%s: empirical read noise of %s: %.3f adu",
            product.label,
            amplifier,
            noise,
            extra=where,
        )
    if result.summary.get("dropped"):
        logger.warning(
            "%s: left out exposures %s",
            product.label,
            ", ".join(map(str, result.summary["dropped"])),
            extra=where,
        )
    if "clip_fraction" in result.summary:
        logger.info(
            "%s: clip fraction %s, %s pixels filled",
            product.label,
            result.summary["clip_fraction"],
            result.summary.get("n_filled"),
            extra=where,
        )
