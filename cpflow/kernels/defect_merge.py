"""One defect mask from those of many exposures and products (spec 4.7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from cpflow.kernels.masks import Mask

CombinationMode = Literal["AND", "OR", "FRACTION"]


def merge_masks(
    masks: Iterable[Mask], mode: CombinationMode = "FRACTION", fraction: float = 0.7
) -> Mask:
    """Merge the defects of exposures of one kind.

    Parameters
    ----------
    masks : iterable of array of bool, shape (rows, columns)
        Taken one after the other; only their count per pixel is kept.
    mode : str
        ``"AND"``: a defect in all of them; ``"OR"``: in any; ``"FRACTION"``: in more than
        `fraction` of them.
    fraction : float
        From 0 up to, but not including, 1.

    Returns
    -------
    array of bool, shape (rows, columns)

    Raises
    ------
    ValueError
        If there is no mask, they differ in shape, or mode or fraction is unknown.

    Notes
    -----
    Spec 4.7. The reference's AND asks for more than all masks and merges to nothing.
    """
    if mode not in ("AND", "OR", "FRACTION"):
        raise ValueError(f"defects merge by AND, OR or FRACTION, not {mode!r}")
    if not 0 <= fraction < 1:
        raise ValueError(f"more than {fraction} of all masks cannot have a defect")
    counts, total = None, 0
    for mask in masks:
        flags = np.asarray(mask, np.bool_)
        if counts is None:
            counts = np.zeros(flags.shape, np.int32)
        elif flags.shape != counts.shape:
            raise ValueError(f"defects of {flags.shape} and {counts.shape} pixels do not merge")
        counts += flags
        total += 1
    if counts is None:
        raise ValueError("there are no defects to merge")
    if mode == "AND":
        return np.asarray(counts == total)
    if mode == "OR":
        return np.asarray(counts > 0)
    return np.asarray(counts / total > fraction)


def merge_sources(
    sources: Mapping[str, Iterable[Mask]],
    mode: CombinationMode = "FRACTION",
    fraction: float = 0.7,
) -> Mask:
    """Merge defects of several kinds of exposures: a defect of any kind is one.

    Parameters
    ----------
    sources : mapping of str to iterable of array of bool
        Masks of each kind, ``"bias"``, ``"dark"``, ``"flat"`` and others.
    mode, fraction
        How the masks of a kind merge, see `merge_masks`.

    Returns
    -------
    array of bool, shape (rows, columns)

    Raises
    ------
    ValueError
        As `merge_masks`.
    """
    return merge_masks(
        (merge_masks(masks, mode, fraction) for masks in sources.values()), mode="OR"
    )
