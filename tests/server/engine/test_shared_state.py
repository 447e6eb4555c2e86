"""Calls that read states: on one state they share it, on others only what is worth copying."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from foretoken.models.contract import Graph, Tensor
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.lane import Lane, Limits
from foretoken.server.terms import Terms
from tests.asynchronous import awaited

GRAPH = Graph(
    "query",
    inputs=(Tensor("x", "float32", ("B", "M", "F")),),
    outputs=(Tensor("seen", "float32", ("B", "M", 2)),),
    reads=(Tensor("n", "int64", ("B",)), Tensor("k", "float32", ("B", "N", "F"))),
    rows="M",
)


class Runtime:
    """What each row sees of the first n rows of a state, and how it was called."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, graph, inputs):
        self.calls.append(inputs)
        real = np.arange(inputs["k"].shape[1]) < inputs["n"][:, None]
        scores = inputs["x"] @ inputs["k"].transpose(0, 2, 1) * real[:, None]
        return {"seen": np.stack([scores.sum(-1), (scores**2).sum(-1)], -1)}


@pytest.fixture
def runtime():
    return Runtime()


def state(seed, rows=5, members=1):
    k = np.random.default_rng(seed).standard_normal((members, rows, 3), np.float32)
    return {"n": np.full(members, rows, np.int64), "k": k}


def rows(seed, M, members=1):
    return {"x": np.random.default_rng(seed).standard_normal((members, M, 3), np.float32)}


async def answers(runtime, calls, **limits):
    """Those of calls that come at once, the first of them alone since it finds nobody waiting."""
    lane = Lane("model", 1, GRAPH, runtime, Limits(**limits))
    with ThreadPoolExecutor(1) as pool:
        batcher = Batcher(1, pool)
        waiting = [asyncio.ensure_future(batcher.run(lane, [c], Terms())) for c in calls]
        return [(await each)[0][0]["seen"] for each in waiting]


def expect_own(made, calls):
    for got, call in zip(made, calls, strict=True):
        wanted = Runtime()("query", call)["seen"]
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize("members", [1, 3])
@awaited
async def test_calls_on_one_state_become_rows_of_one_call_which_reads_that_very_state(
    runtime, members
):
    one = state(0, members=members)
    calls = [{**rows(i, M, members), **one} for i, M in enumerate((1, 4, 2, 1))]
    expect_own(await answers(runtime, calls, copied=0), calls)
    (run,) = runtime.calls
    assert run["x"].shape == (members, 8, 3)
    assert run["k"] is one["k"]
    assert run["n"] is one["n"]


@awaited
async def test_equal_arrays_are_not_the_same_state_and_large_ones_are_never_copied(runtime):
    one, large = state(0), state(0)
    calls = [{**rows(i, 2), **(one, large)[i % 2]} for i in range(6)]
    expect_own(await answers(runtime, calls, copied=one["k"].nbytes), calls)
    assert [run["x"].shape for run in runtime.calls] == [(1, 6, 3)] * 2
    assert [run["k"] is each["k"] for run, each in zip(runtime.calls, (one, large), strict=True)]


@awaited
async def test_small_states_are_copied_for_company(runtime):
    states = [state(i, rows=4 + i % 2) for i in range(4)]
    calls = [{**rows(i, 1 + i), **states[i]} for i in range(4)]
    expect_own(await answers(runtime, calls), calls)
    (run,) = runtime.calls
    assert run["k"].shape == (4, 5, 3)
    assert run["n"].tolist() == [4, 5, 4, 5]


@awaited
async def test_a_call_on_a_large_state_takes_no_company_and_is_none(runtime):
    small, large = state(0), state(1, rows=50)
    calls = [{**rows(0, 1), **small}, {**rows(1, 1), **large}, {**rows(2, 1), **state(2)}]
    expect_own(await answers(runtime, calls, copied=200), calls)
    assert [len(run["x"]) for run in runtime.calls] == [2, 1]


@awaited
async def test_rows_of_one_state_keep_within_the_budget_however_long_it_is(runtime):
    one = state(0, rows=500)
    calls = [{**rows(i, 3), **one} for i in range(5)]
    expect_own(await answers(runtime, calls, batch_tokens=6), calls)
    assert [run["x"].shape[1] for run in runtime.calls] == [6, 6, 3]


@awaited
async def test_the_oldest_call_goes_first_whatever_company_others_would_have(runtime):
    popular, lonely = state(0), state(1)
    calls = [{**rows(0, 1), **popular}, {**rows(1, 1), **lonely}]
    calls += [{**rows(i, 1), **popular} for i in range(2, 9)]
    expect_own(await answers(runtime, calls, copied=0, batch_tokens=4), calls)
    assert [run["k"] is lonely["k"] for run in runtime.calls] == [False, True, False]
