"""The whole chain: bias, defects, dark, flats, and the defects again with flats at hand."""

from cpflow import Select

CHAIN = {
    "bias": {},
    "defects": {"select": Select(observation_type="bias")},
    "dark": {},
    "flat": {},
    "defects-again": {
        "graph": "defects",
        "select": Select(observation_type=("bias", "flat")),
        "when": Select(observation_type="flat"),
        "config": {"isr.dark": True, "isr.flat": True},
    },
}
