"""The registry against a model in plain Python, step by step (issue 3, acceptance)."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from registries import CAM, address, prepare, ref

from cpflow.errors import (
    AmbiguousCalibrationError,
    CollectionCycleError,
    CollectionError,
    ConflictError,
    UsageError,
)
from cpflow.registry import DatasetRef, Registry
from cpflow.timespan import Timespan

DETECTORS = (0, 1)
RUNS = ("run0", "run1", "run2")
CALIBS = ("calib0", "calib1")
CHAINS = ("chain0", "chain1", "chain2")
bounds = st.one_of(st.none(), st.integers(0, 8))
spans = st.builds(Timespan, bounds, bounds)
names = st.sampled_from([*RUNS, *CALIBS, *CHAINS])
some_detectors = st.sets(st.sampled_from(DETECTORS), min_size=1)


class Model:
    """What the specification says, without a database."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[int, str]] = {name: {} for name in RUNS}
        self.rows: dict[str, list[tuple[int, Timespan, str]]] = {name: [] for name in CALIBS}
        self.chains: dict[str, list[str]] = {name: [] for name in CHAINS}

    def below(self, name: str) -> set[str]:
        found = {name}
        for child in self.chains.get(name, ()):
            found |= self.below(child)
        return found

    def flatten(self, path: list[str]) -> list[str]:
        flat: list[str] = []
        for name in path:
            flat += self.flatten(self.chains[name]) if name in self.chains else [name]
        return list(dict.fromkeys(flat))

    def find(self, path: list[str], detector: int, span: Timespan | None) -> list[str]:
        if span is not None and span.is_empty:
            return []
        for name in self.flatten(path):
            if name in self.runs:
                found = [self.runs[name][detector]] if detector in self.runs[name] else []
            elif span is None:
                found = []
            else:
                found = [
                    i for d, held, i in self.rows[name] if d == detector and held.overlaps(span)
                ]
            if found:
                return found
        return []


class Machine(RuleBasedStateMachine):
    """Each rule does the same to both and compares what comes of it."""

    kind = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        # Where there is no server this skips half-way, and hypothesis calls no teardown then.
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            url = stack.enter_context(address(self.kind, directory))
            self.registry = stack.enter_context(Registry.create(url))
            self.stack = stack.pop_all()
        prepare(self.registry, len(DETECTORS))
        for kind, given in (("RUN", RUNS), ("CALIBRATION", CALIBS), ("CHAINED", CHAINS)):
            for name in given:
                self.registry.register_collection(name, kind)
        self.model = Model()
        self.refs: dict[str, DatasetRef] = {}

    def teardown(self) -> None:
        self.stack.close()

    def agree(self, action: Any, refused: type[Exception] | None) -> bool:
        """Do it, and say whether it was done; the model says beforehand whether it will be."""
        if refused is None:
            action()
            return True
        with pytest.raises(refused):
            action()
        return False

    @rule(run=st.sampled_from(RUNS), detectors=some_detectors)
    def publish(self, run: str, detectors: set[int]) -> None:
        refs = [ref(run, detector=d) for d in sorted(detectors)]
        taken = detectors & set(self.model.runs[run])
        refused = ConflictError if taken else None
        if self.agree(lambda: self.registry.publish(run, refs), refused):
            for one in refs:
                assert one.data_id.detector is not None
                self.model.runs[run][one.data_id.detector] = one.id
                self.refs[one.id] = one

    @rule(
        run=st.sampled_from(RUNS),
        calib=st.sampled_from(CALIBS),
        detectors=some_detectors,
        span=spans,
        replace=st.booleans(),
    )
    def certify(
        self, run: str, calib: str, detectors: set[int], span: Timespan, replace: bool
    ) -> None:
        chosen = {d: i for d, i in self.model.runs[run].items() if d in detectors}
        rows = self.model.rows[calib]
        clash = any(d in chosen and held.overlaps(span) for d, held, _ in rows)
        refused: type[Exception] | None = None
        if span.is_empty:
            refused = UsageError
        elif clash and not replace:
            refused = ConflictError
        given = [self.refs[i] for i in chosen.values()]
        if self.agree(lambda: self.registry.certify(calib, given, span, replace=replace), refused):
            self.take_away(calib, set(chosen), span)
            self.model.rows[calib] += [(d, span, i) for d, i in chosen.items()]

    @rule(
        calib=st.sampled_from(CALIBS),
        span=spans,
        detectors=st.one_of(st.none(), st.sets(st.sampled_from(DETECTORS))),
    )
    def decertify(self, calib: str, span: Timespan, detectors: set[int] | None) -> None:
        ids = None if detectors is None else [(CAM, d) for d in detectors]
        refused = UsageError if span.is_empty else None
        if self.agree(lambda: self.registry.decertify(calib, "bias", span, ids), refused):
            self.take_away(calib, set(DETECTORS) if detectors is None else detectors, span)

    def take_away(self, calib: str, detectors: set[int], span: Timespan) -> None:
        self.model.rows[calib] = [
            (d, part, i)
            for d, held, i in self.model.rows[calib]
            for part in (held.difference(span) if d in detectors else (held,))
        ]

    @rule(
        chain=st.sampled_from(CHAINS),
        children=st.lists(names, min_size=1, max_size=3),
        mode=st.sampled_from(["redefine", "prepend", "extend", "remove"]),
        flatten=st.booleans(),
    )
    def change_chain(self, chain: str, children: list[str], mode: str, flatten: bool) -> None:
        given = list(dict.fromkeys(children))
        refused: type[Exception] | None = None
        if flatten and mode == "remove":
            refused = UsageError
        elif flatten:
            given = self.model.flatten(given)
        if (
            refused is None
            and mode != "remove"
            and any(chain in self.model.below(c) for c in given)
        ):
            refused = CollectionCycleError
        done = self.agree(
            lambda: self.registry.change_chain(chain, children, mode, flatten=flatten), refused
        )
        if done:
            old = [c for c in self.model.chains[chain] if c not in given]
            self.model.chains[chain] = {
                "redefine": given,
                "prepend": [*given, *old],
                "extend": [*old, *given],
                "remove": old,
            }[mode]

    @rule(chain=st.sampled_from(CHAINS), position=st.integers(-4, 3))
    def pop(self, chain: str, position: int) -> None:
        children = self.model.chains[chain]
        outside = not -len(children) <= position < len(children)
        refused = UsageError if outside else None
        if self.agree(lambda: self.registry.change_chain(chain, [position], "pop"), refused):
            children.pop(position)

    @rule(run=st.sampled_from(RUNS), force=st.booleans())
    def remove_run(self, run: str, force: bool) -> None:
        ids = set(self.model.runs[run].values())
        held = any(run in children for children in self.model.chains.values())
        certified = any(i in ids for rows in self.model.rows.values() for _, _, i in rows)
        refused = CollectionError if (held or certified) and not force else None
        if self.agree(lambda: self.registry.remove_runs(run, force=force), refused):
            self.registry.register_collection(run, "RUN")
            self.model.runs[run] = {}
            for calib, rows in self.model.rows.items():
                self.model.rows[calib] = [row for row in rows if row[2] not in ids]
            for children in self.model.chains.values():
                if run in children:
                    children.remove(run)

    @rule(path=st.lists(names, max_size=3), detector=st.sampled_from(DETECTORS), data=st.data())
    def find(self, path: list[str], detector: int, data: st.DataObject) -> None:
        span = data.draw(st.one_of(st.none(), spans))
        wanted = self.model.find(path, detector, span)
        if len(wanted) > 1:
            with pytest.raises(AmbiguousCalibrationError):
                self.registry.find("bias", (CAM, detector), path, span)
            return
        found = self.registry.find("bias", (CAM, detector), path, span)
        assert (found.id if found else None) == (wanted[0] if wanted else None)

    @invariant()
    def the_two_agree(self) -> None:
        for chain, children in self.model.chains.items():
            assert list(self.registry.collection(chain).children) == children
            assert self.registry.flatten(chain) == self.model.flatten([chain])
        for calib, rows in self.model.rows.items():
            found = [
                (one.dataset.data_id.detector, one.timespan, one.dataset.id)
                for one in self.registry.certified(calib)
            ]
            assert sorted(found, key=repr) == sorted(rows, key=repr)
        assert self.registry.problems() == []


@pytest.mark.parametrize(
    ("kind", "examples"),
    [
        ("sqlite", 25),
        pytest.param("sqlite", 60, marks=pytest.mark.slow),
        pytest.param("postgresql", 10, marks=pytest.mark.postgresql),
        pytest.param("postgresql", 20, marks=[pytest.mark.postgresql, pytest.mark.slow]),
    ],
)
def test_registry_agrees_with_the_model(kind: str, examples: int) -> None:
    machine = type("Machine", (Machine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
