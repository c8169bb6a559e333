"""Naming one product on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from cpflow.errors import MissingCalibrationError, UsageError

if TYPE_CHECKING:
    from cpflow.registry import DatasetRef
    from cpflow.repo import Repository


def product_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name one product among several."""
    for option in (
        click.option("--exposure", type=int, help="What holds at this exposure's time."),
        click.option("--physical-filter", help="Filter, for products that have one."),
        click.option("--instrument", help="Needed if the repository has several."),
        click.option("--detector", type=int, help="Needed if the run has several."),
    ):
        function = option(function)
    return function


def find_product(
    repository: Repository,
    collection: str,
    product: str | None,
    *,
    detector: int | None,
    instrument: str | None,
    physical_filter: str | None,
    exposure: int | None,
) -> DatasetRef:
    """Return the one product that the options name.

    Raises
    ------
    UsageError
        If they name several.
    MissingCalibrationError
        If they name none.
    """
    from cpflow.products import product_name

    if exposure is not None and product is not None:
        found = repository.find(
            product,
            collections=collection,
            detector=detector,
            instrument=instrument,
            physical_filter=physical_filter,
            exposure=exposure,
        )
        if found is None:
            raise MissingCalibrationError(
                f"no {product} in {collection} holds for exposure {exposure}",
                hint="`cpflow explain REPO EXPOSURE` shows which calibrations apply, and why",
            )
        return found
    pattern = "*" if product is None else product_name(product)
    refs = [
        ref
        for ref in repository.registry.datasets(pattern, collections=[collection], find_first=False)
        if ref.type != "raw"
        and (detector is None or ref.data_id.detector == detector)
        and (instrument is None or ref.data_id.instrument == instrument)
        and (physical_filter is None or ref.data_id.physical_filter == physical_filter)
    ]
    # A chain has its newest run first, and that is the one that people mean.
    newest = [ref for ref in refs if ref.run == refs[0].run]
    if not newest:
        wanted = "product" if product is None else pattern
        for what, value in (("detector", detector), ("filter", physical_filter)):
            wanted += "" if value is None else f" of {what} {value}"
        raise MissingCalibrationError(
            f"{collection} holds no {wanted}",
            hint=f"`cpflow datasets REPO --collections {collection}` lists what it holds",
        )
    if len(newest) > 1:
        listed = "\n  ".join(str(ref) for ref in newest[:20])
        raise UsageError(
            f"{len(newest)} products fit:\n  {listed}",
            hint="name one with --product, --detector or --physical-filter",
        )
    return newest[0]
