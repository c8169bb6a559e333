"""Defect lists, found and made by hand."""

from __future__ import annotations

from cpflow.products.spec import OF_DETECTOR, ProductSpec, Variable

DEFECTS = ProductSpec(
    "defects",
    OF_DETECTOR,
    (
        *(
            Variable(name, ("box",), "int32", ("pixel",))
            for name in ("x0", "y0", "width", "height")
        ),
        *(
            Variable(name, ("exposure", "amp"), "int64", ("1",), True, meaning=meaning)
            for name, meaning in (
                ("n_hot", "pixels above the threshold; -1 for an exposure that was left out"),
                ("n_cold", "pixels below the threshold; -1 for an exposure that was left out"),
            )
        ),
        Variable("dropped", ("exposure",), "bool", (), True, meaning="left out by --drop-bad"),
        *(
            Variable(name, ("source", "amp"), "int64", ("1",), True, meaning=meaning)
            for name, meaning in (
                ("hot_pixels", "pixels of a combined image above the threshold"),
                ("cold_pixels", "pixels of a combined image below the threshold"),
                ("flagged_pixels", "pixels of a combined image flagged BAD: without good input"),
            )
        ),
    ),
    aliases=("defect",),
    building=(Variable("defect", ("y", "x"), "uint8", ("1",), meaning="1 where it is bad"),),
)
MANUAL_DEFECTS = ProductSpec(
    "manual_defects",
    OF_DETECTOR,
    tuple(
        Variable(name, ("box",), "int32", ("pixel",)) for name in ("x0", "y0", "width", "height")
    ),
)
