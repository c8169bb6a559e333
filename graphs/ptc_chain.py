"""Photon transfer curve, linearity from it, the curve again with it, and the kernel."""

CHAIN = {
    "ptc": {},
    "linearity": {},
    "ptc-again": {"graph": "ptc", "config": {"isr.linearize": True}},
    "bfk": {},
}
