"""All exposures of the page, an eighth of the size along each axis: issue 4's limits."""

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
def test_the_page_s_data_set_takes_under_three_minutes_and_one_gibibyte(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from cpflow.io.instrument import load_instrument, scaled
        from cpflow.simulate import load_sequence, simulate

        started = time.monotonic()
        latiss = scaled(load_instrument("latiss"), 8)
        done = simulate(Path({str(tmp_path)!r}), latiss, load_sequence("latiss-2021"), workers=2)
        # Not ru_maxrss: a process inherits that from the one that starts it, here pytest's.
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        peak = int(status["VmHWM"].split()[0])
        print(len(done.paths), time.monotonic() - started, peak / 1024**2)
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=600
    )
    files, seconds, gibibytes = map(float, run.stdout.split())
    assert files == 305
    assert seconds < 180
    assert gibibytes < 1
