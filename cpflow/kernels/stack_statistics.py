"""Unclipped combinations of a stack: mean and median (spec 3.2)."""

from __future__ import annotations
