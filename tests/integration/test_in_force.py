"""What is in force, as a notebook asks."""

from __future__ import annotations

import pytest

from cpflow.errors import ConflictError, UsageError
from cpflow.registry import Outcome

CERTIFIED = "LATISS/calib/DM-1"


@pytest.fixture
def run(repo):
    made = repo.plan("bias", "instrument='LATISS'").run(output="u/me/biasGen")
    repo.certify(made, CERTIFIED, begin="2021-01-01", end="2022-01-01")
    return made


def test_explain_takes_names_chains_and_product_aliases(repo, run):
    exposure = repo.exposures()[0].exposure
    (found,) = repo.explain(exposure, collections=CERTIFIED, types="bias")
    assert found.outcome is Outcome.USED
    assert found.dataset.id == run.datasets[0].id
    (found,) = repo.explain(exposure, 0, collections=[CERTIFIED], types=["linearity"])
    assert found.type == "linearizer"
    assert found.outcome is Outcome.NOTHING
    with pytest.raises(UsageError, match="there is no detector 3"):
        repo.explain(exposure, 3)


def test_certified_and_decertify(repo, run):
    (row,) = repo.certified(CERTIFIED, "bias")
    before, after = repo.decertify(CERTIFIED, "bias", begin="2021-06-01", dry_run=True)
    assert before == [row]
    assert repo.certified(CERTIFIED) == [row]
    _, after = repo.decertify(CERTIFIED, "bias", begin="2021-06-01", detectors=[0])
    assert repo.certified(CERTIFIED) == after
    assert repo.decertify(CERTIFIED, "bias", detectors=[]) == ([], []), "V17: none is none"


def test_a_run_that_is_certified_is_not_removed_by_accident(repo, run):
    plan = repo.remove_runs(run.name, dry_run=True)
    assert len(plan.certifications) == 1
    with pytest.raises(ConflictError):
        repo.remove_runs(run.name, unlink=True)
    removed = repo.remove_runs(run.name, force=True)
    assert removed.counts == {"bias": 1}
    assert not repo.store.product_paths()
