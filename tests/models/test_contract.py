"""The contract's types, and that every family fulfils the protocols to the letter."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest

from foretoken.models import kinds
from foretoken.models.contract import Call, Context, Emit, Family, Graph, Kind, Predictor, Tensor
from tests.published import SUBJECTS

MEMBERS = {*Family.__annotations__, *(n for n in vars(Family) if not n.startswith("_"))}


def test_there_are_four_kinds():
    assert [kind.value for kind in Kind] == ["stateless", "in_context", "recurrent", "generative"]
    for kind in Kind:
        assert f"\n{kind.value} " in str(kinds.__doc__), "the page says who keeps its state"


def test_the_toys_and_the_families_are_of_every_kind():
    assert {family.kind for family in SUBJECTS.values()} == set(Kind)


@pytest.mark.parametrize("value", [Tensor("x", "float32", ("B",)), Call("step", {}), Emit(1)])
def test_what_passes_between_threads_is_frozen(value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)


def test_calls_and_graphs_have_no_state_unless_told():
    assert Call("forward", {}).state is None
    graph = Graph("forward", (), ())
    assert (graph.reads, graph.writes, graph.tolerance) == ((), (), 1e-4)
    assert Tensor("x", "float32", ("B",)).pad == 0
    assert Context({}, ({"k": np.zeros(1)},)).states[0]["k"] == 0


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_a_family_has_every_member_and_takes_the_same_arguments(name):
    family = SUBJECTS[name]
    assert {m for m in MEMBERS if not hasattr(family, m)} == set()
    for member, declared in inspect.getmembers(Family, inspect.isfunction):
        if not member.startswith("_"):
            wanted = list(inspect.signature(declared).parameters)[1:]
            assert list(inspect.signature(getattr(family, member)).parameters) == wanted


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_a_predictor_has_the_methods_of_its_kind(name):
    family = SUBJECTS[name]
    module = family.module(family.small)
    weights = {k: v.numpy() for k, v in module.state_dict().items()}
    predictor: Any = family.predictor(family.small, weights)
    wanted = list(inspect.signature(Predictor.predict).parameters)[1:]
    assert list(inspect.signature(predictor.predict).parameters) == wanted
    assert hasattr(predictor, "fit") == (family.kind is Kind.IN_CONTEXT)
    assert hasattr(predictor, "start") == (family.kind in (Kind.RECURRENT, Kind.GENERATIVE))


@pytest.mark.parametrize(
    "name", [n for n, f in SUBJECTS.items() if f.kind in (Kind.RECURRENT, Kind.GENERATIVE)]
)
def test_a_start_is_what_the_graphs_read_for_one_row_that_has_seen_nothing(name):
    family = SUBJECTS[name]
    weights = {k: v.numpy() for k, v in family.module(family.small).state_dict().items()}
    start = family.predictor(family.small, weights).start()
    for graph in family.graphs(family.small):
        for tensor in graph.reads:
            array = start[tensor.name]
            assert array.dtype == tensor.dtype
            lengths = {"B": 1}
            assert array.shape == tuple(
                lengths.get(d, 0) if isinstance(d, str) else d for d in tensor.dims
            )
