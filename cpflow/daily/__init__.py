"""A night of calibrations: verified against what is in force, built, verified, certified."""

from cpflow.daily.night import Daily, StepOutcome, run_night
from cpflow.daily.options import DailyOptions, load_daily

__all__ = ["Daily", "DailyOptions", "StepOutcome", "load_daily", "run_night"]
