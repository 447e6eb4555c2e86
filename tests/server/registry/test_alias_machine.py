"""Random walks over aliases against a model of a few lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from foretoken.errors import FailedPrecondition, NotFound, StaleGeneration
from foretoken.server.registry.records import Canary, Target
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature, write_artefact

VERSIONS = st.integers(1, 3)
ALIASES = st.sampled_from(["champion", "shadow"])


class AliasMachine(RuleBasedStateMachine):
    """What aliases point at, as a stack of targets for each; the top is the present."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.registry = Registry.open(Path(self.folder.name) / "data", signature=toy_signature)
        for n in range(3):
            self.registry.register("m", write_artefact(Path(self.folder.name) / str(n), float(n)))
        self.past: dict[str, list] = {"champion": [Target(1)], "shadow": [None]}
        self.moves = {"champion": 1, "shadow": 0}

    def teardown(self):
        self.registry.close()
        self.folder.cleanup()

    def _generation(self, alias):
        return self.moves[alias] if self.past[alias][-1] else 0

    def _push(self, alias, target):
        if target != self.past[alias][-1]:
            self.past[alias].append(target)
            self.moves[alias] += 1

    @rule(alias=ALIASES, version=VERSIONS)
    def move(self, alias, version):
        self.registry.set_alias("m", alias, version, expect_generation=self._generation(alias))
        self._push(alias, Target(version))

    @rule(alias=ALIASES, version=VERSIONS, percent=st.sampled_from([1.0, 50.0]))
    def canary(self, alias, version, percent):
        standing = self.past[alias][-1]
        if standing is None or standing.version == version:
            with pytest.raises(FailedPrecondition):
                self.registry.set_alias("m", alias, version, canary=percent)
            return
        self.registry.set_alias("m", alias, version, canary=percent)
        self._push(alias, Target(standing.version, Canary(version, percent)))

    @rule(alias=ALIASES, version=VERSIONS, off=st.sampled_from([-1, 1, 7]))
    def stale(self, alias, version, off):
        with pytest.raises(StaleGeneration):
            self.registry.set_alias(
                "m", alias, version, expect_generation=self._generation(alias) + off
            )

    @rule(alias=ALIASES)
    def delete(self, alias):
        if self.past[alias][-1] is None:
            with pytest.raises(NotFound):
                self.registry.delete_alias("m", alias)
            return
        self.registry.delete_alias("m", alias)
        self._push(alias, None)

    @rule(alias=ALIASES)
    def roll_back(self, alias):
        past = self.past[alias]
        present = past[-1]
        rest = list(past)
        while rest and rest[-1] in (None, present):
            rest.pop()
        if present is None:
            rest = list(past)
            while rest and rest[-1] is None:
                rest.pop()
        if not rest:
            with pytest.raises((FailedPrecondition, NotFound)):
                self.registry.rollback("m", alias)
            return
        assert self.registry.rollback("m", alias).target == rest[-1]
        self.past[alias] = rest
        self.moves[alias] += 1

    @invariant()
    def same(self):
        there = {alias.alias: alias for alias in self.registry.aliases("m")}
        for alias, past in self.past.items():
            found = there.get(alias)
            assert (found.target if found else None) == past[-1]
            if found:
                assert found.generation == self.moves[alias]
            events = self.registry.history("m", alias)
            assert [event.generation for event in events] == list(range(1, self.moves[alias] + 1))
            assert [e.before for e in events[1:]] == [e.after for e in events[:-1]]


def test_aliases_behave_like_the_model():
    run_state_machine_as_test(
        AliasMachine,
        settings=settings(
            max_examples=6,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
