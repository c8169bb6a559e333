"""Rubin's page "Constructing calibrations" (2021), replayed command by command in a shell.

`butler` and `pipetask` are replaced by `cpflow`, and ``/repo/main`` by a repository of its own with
the page's exposures, simulated at an eighth of the size. Where the page's text says what a command
does without writing it (chains, temporary collections, replacing a member), it is written here.
It is one test, in the order of the page: each step stands on the ones before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cpflow.simulate import load_sequence

pytestmark = pytest.mark.slow

SCALE = 8
DATA = "\"instrument='LATISS' AND detector=0 AND exposure IN ($EXPOSURES)\""
INPUTS = "LATISS/raw/all,LATISS/calib,u/czw/DM-28920/calib"


class Shell:
    """A shell with the page's variables."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.variables = {"RERUN": "20210702a"}

    def __call__(self, command: str, code: int = 0) -> str:
        environment = {
            **os.environ,
            **self.variables,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def select(self, exposures) -> None:
        self.variables["EXPOSURES"] = ", ".join(map(str, exposures))


@pytest.fixture(scope="module")
def lists():
    return load_sequence("latiss-2021").lists


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """A shell beside a repository with all the exposures of the page."""
    found = Shell(tmp_path_factory.mktemp("page"))
    found(
        f"cpflow simulate raws --sequence latiss-2021 --scale {SCALE} && "
        "cpflow create repo --instrument raws/instrument.yaml && "
        "cpflow ingest-raws repo raws"
    )
    return found


def rows(text):
    return [line for line in text.splitlines() if line[:2] == "20"]


def biases(shell, lists):
    listed = shell(
        """cpflow query-dimension-records repo exposure \\
        --where "instrument='LATISS' AND exposure.observation_type='bias' \\
                 AND exposure.target_name='Park position' \\
                 AND exposure.exposure_time=0.0 AND exposure.dark_time < 0.1 \\
                 AND exposure.day_obs > 20210101" """
    )
    found = {int(line.split()[0]) for line in rows(listed)}
    assert found >= set(lists["bias"])
    sample = shell(
        """cpflow query-dimension-records repo exposure --sample 50 --per day_obs --seed 1 \\
        --where "instrument='LATISS' AND exposure.observation_type='bias'" """
    )
    assert len(rows(sample)) == 50
    shell.select(lists["bias"])
    shell(
        f"""cpflow --long-log run -b repo -p bias \\
         -i LATISS/raw/all,LATISS/calib -o u/czw/DM-28920/biasGen.$RERUN \\
         -d {DATA} \\
         -c isr:doDefect=False -c isr:doEmpiricalReadNoise=True >& ./bias.$RERUN.log"""
    )
    log = (shell.directory / "bias.20210702a.log").read_text()
    assert "empirical read noise of C07" in log


def verification_of_the_bias_fails_on_unmasked_defects(shell, lists):
    told = shell(
        f"""cpflow run -b repo -p verify/bias \\
         -i u/czw/DM-28920/biasGen.$RERUN,LATISS/raw/all,LATISS/calib \\
         -o u/czw/DM-28920/verifyBias.$RERUN \\
          -d {DATA}""",
        code=5,
    )
    assert "mask defects" in told


def defects(shell, lists):
    shell.variables["RERUN"] = "20210706h"
    shell(
        f"""cpflow --long-log run -b repo -p defects \\
        -i LATISS/raw/all,u/czw/DM-28920/biasGen.20210702a,LATISS/calib \\
        -o u/czw/DM-28920/defectGen.$RERUN \\
        -d {DATA}  >& ./defect.$RERUN.log"""
    )
    shell(
        f"""cpflow --long-log run -b repo -p verifyDefect.yaml \\
        -i LATISS/raw/all,u/czw/DM-28920/defectGen.$RERUN,\\
u/czw/DM-28920/biasGen.20210702a,LATISS/calib \\
        -o u/czw/DM-28920/verifyDefect.$RERUN \\
        -d {DATA} >& ./defectVerify.$RERUN.log"""
    )


def verification_of_the_bias_with_defects_passes(shell, lists):
    shell(
        f"""cpflow run -b repo -p verifyBias.yaml \\
         -i u/czw/DM-28920/defectGen.20210706h,u/czw/DM-28920/biasGen.20210702a,LATISS/raw/all \\
         -o u/czw/DM-28920/verifyBias.20210706h -d {DATA}"""
    )


def certification_of_bias_and_defects(shell, lists):
    told = shell(
        """cpflow certify-calibrations repo u/czw/DM-28920/biasGen.20210702a \\
         LATISS/calib/DM-28920 --begin-date 2020-01-01 --end-date 2050-01-01 bias"""
    )
    assert "verified" in told
    told = shell(
        """cpflow certify-calibrations repo u/czw/DM-28920/defectGen.20210706h \\
         LATISS/calib/DM-28920 --begin-date 2020-01-01 --end-date 2050-01-01 defects"""
    )
    assert "verified" in told
    # For a day, with the page's other spelling of the dates.
    shell(
        """cpflow certify-calibrations repo \\
        u/czw/DM-28920/biasGen.20210702a LATISS/calib/dailyBiases \\
        --begin_date 2021-07-15 --end_date 2021-07-16 bias"""
    )
    shell("cpflow collection-chain repo LATISS/calib LATISS/calib/DM-28920 --mode=prepend")
    shell("cpflow collection-chain repo LATISS/calib LATISS/calib/dailyBiases --mode=extend")
    for kind, run in (("bias", "biasGen.20210702a"), ("defects", "defectGen.20210706h")):
        shell(
            f"""cpflow certify-calibrations repo u/czw/DM-28920/{run} u/czw/DM-28920/calib \\
            --begin-date 2021-01-01 --end-date 2050-01-01 {kind}"""
        )


def replay(shell, kind, graph, name, *, product=None, status="verified"):
    """Build, certify for verification, verify, certify to the final collection."""
    product = product or kind
    shell(
        f"""cpflow run -b repo -p {graph} -i {INPUTS} \\
        -o u/czw/DM-28920/{kind}Gen -d {DATA}"""
    )
    shell(
        f"""cpflow certify-calibrations repo u/czw/DM-28920/{kind}Gen u/czw/DM-28920/{kind}Temp \\
        --begin-date 1980-01-01 --end-date 2050-01-01 {product}"""
    )
    shell(
        f"""cpflow run -b repo -p verify{name}.yaml -i {INPUTS},u/czw/DM-28920/{kind}Temp \\
        -o u/czw/DM-28920/verify{name} -d {DATA}""",
        code=0 if status == "verified" else 5,
    )
    told = shell(
        f"""cpflow certify-calibrations repo u/czw/DM-28920/{kind}Gen u/czw/DM-28920/calib \\
        --begin-date 2021-01-01 --end-date 2050-01-01 {product}"""
    )
    assert status in told


def darks(shell, lists):
    listed = shell(
        """cpflow query-dimension-records repo exposure --where "instrument='LATISS' AND
        exposure.observation_type='dark' AND exposure.exposure_time > 0.0 AND
        exposure.dark_time > 0.0 AND exposure.day_obs > 20210101" """
    )
    assert {int(line.split()[0]) for line in rows(listed)} == set(lists["dark"])
    # The first two dozen: a hundred take as long again for nothing new.
    shell.select(lists["dark"][:24])
    replay(shell, "dark", "cpDark.yaml", "Dark")


def flats_in_two_filters(shell, lists):
    for name in ("flat_empty", "flat_rg610"):
        shell.select(lists[name])
        kind = name.replace("_", "")
        shell(
            f"""cpflow run -b repo -p cpFlat.yaml -i {INPUTS} \\
            -o u/czw/DM-28920/flatGen -d {DATA} -j 2"""
        )
        shell(
            f"""cpflow certify-calibrations repo u/czw/DM-28920/flatGen \\
            u/czw/DM-28920/{kind}Temp --begin-date 1980-01-01 --end-date 2050-01-01 flat"""
        )
        shell(
            f"""cpflow run -b repo -p verifyFlat.yaml -i {INPUTS},u/czw/DM-28920/{kind}Temp \\
            -o u/czw/DM-28920/verifyFlat -d {DATA}"""
        )
        told = shell(
            """cpflow certify-calibrations repo u/czw/DM-28920/flatGen u/czw/DM-28920/calib \\
            --begin-date 2021-01-01 --end-date 2050-01-01 flat"""
        )
        assert "verified" in told


def fringes(shell, lists):
    shell.select(lists["fringe"][:4])
    replay(shell, "fringe", "cpFringe.yaml", "Fringe")


def crosstalk(shell, lists):
    listed = shell(
        """cpflow query-dimension-records repo exposure --where "instrument='LATISS' AND
        exposure.observation_type='science' AND exposure.exposure_time > 0.0 AND
        exposure.target_name = 'NGC 4755' AND exposure.day_obs = 20210217" """
    )
    assert {int(line.split()[0]) for line in rows(listed)} == set(lists["crosstalk"])
    shell.select(lists["crosstalk"])
    # The page names the pipeline of the photon transfer curve here, by mistake.
    # At an eighth of the size few amplifiers have enough ghosts for a verdict.
    replay(shell, "crosstalk", "crosstalk", "Crosstalk", status="no_data")


def photon_transfer_curve_linearity_and_brighter_fatter(shell, lists):
    shell.select(lists["ptc"])
    replay(shell, "ptc", "measurePhotonTransferCurve.yaml", "Ptc")
    replay(shell, "linearity", "measureLinearity.yaml", "Linearity", product="linearity")
    # So few pixels make no kernel that is called valid.
    replay(shell, "bfk", "cpBfkSolve.yaml", "Bfk", status="failed")


def sky(shell, lists):
    listed = shell(
        """cpflow query-dimension-records repo exposure --where "instrument='LATISS' AND
        exposure.observation_type='science' AND exposure.exposure_time > 0.0 AND
        exposure.day_obs = 20210323 and physical_filter = 'RG610~empty'" """
    )
    assert {int(line.split()[0]) for line in rows(listed)} == set(lists["sky"])
    shell.select(lists["sky"])
    replay(shell, "sky", "cpSkySolve.yaml", "Sky")


def the_chain_of_all(shell, lists):
    """One search path for everything; and one wrong member of it is replaced."""
    shell(
        """cpflow collection-chain repo LATISS/calib u/czw/DM-28920/calib --mode=prepend &&
        cpflow query-collections repo --chains=tree LATISS/calib"""
    )
    exposure = lists["sky"][0]
    explained = shell(f"cpflow explain repo {exposure} --format json")
    found = {entry["type"]: entry for entry in json.loads(explained)}
    assert {"bias", "dark", "flat", "defects", "crosstalk", "linearizer", "ptc", "sky"} <= set(
        found
    )
    # The dailyBiases were a mistake: out of the chain, certified anew for another day, and back.
    shell("cpflow collection-chain repo LATISS/calib LATISS/calib/dailyBiases --mode=remove")
    shell(
        """cpflow remove-collections repo LATISS/calib/dailyBiases \\
        --remove-from-parents --no-confirm"""
    )
    shell(
        """cpflow certify-calibrations repo u/czw/DM-28920/biasGen.20210702a \\
        LATISS/calib/dailyBiases --begin-date 2021-07-16 --end-date 2021-07-17 bias"""
    )
    told = shell(
        """cpflow collection-chain repo LATISS/calib LATISS/calib/dailyBiases --mode=extend &&
        cpflow query-collections repo --chains=tree LATISS/calib"""
    )
    assert "LATISS/calib/dailyBiases" in told


STEPS = (
    biases,
    verification_of_the_bias_fails_on_unmasked_defects,
    defects,
    verification_of_the_bias_with_defects_passes,
    certification_of_bias_and_defects,
    darks,
    flats_in_two_filters,
    fringes,
    crosstalk,
    photon_transfer_curve_linearity_and_brighter_fatter,
    sky,
    the_chain_of_all,
)


def test_every_command_of_the_page_in_its_order(shell, lists):
    for step in STEPS:
        step(shell, lists)
