"""Parity figures and what is refused by them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from foretoken.errors import Unsupported
from foretoken.exporters.parity import compare, expect_parity
from foretoken.models.contract import Graph, Tensor

Y = Tensor("y", "float32", ("B",))
GRAPH = Graph("forward", (Tensor("x", "float32", ("B",)),), (Y,), tolerance=1e-3)


def figures(wanted, got, graph=GRAPH):
    wanted, got = (np.asarray(a, np.float32) if isinstance(a, list) else a for a in (wanted, got))
    example = {"x": np.zeros(2, np.float32)}
    return compare(graph, lambda _: {"y": wanted}, lambda _: {"y": got}, [example])


def test_figures_are_those_of_the_largest_difference():
    worst = figures([3.0, -4.0], [3.0, -4.5]).worst()
    assert worst.largest == 0.5
    assert worst.relative == 0.125
    assert worst.rms == pytest.approx(0.1)


def test_the_worst_example_counts():
    outputs = iter([0.0, 0.25, 0.1])
    examples = [{"x": np.zeros(n, np.float32)} for n in (1, 2, 3)]
    found = compare(
        GRAPH,
        lambda e: {"y": np.ones_like(e["x"])},
        lambda e: {"y": np.ones_like(e["x"]) + np.float32(next(outputs))},
        examples,
    )
    assert [d.largest for _, d in found.examples] == [0.0, 0.25, pytest.approx(0.1)]
    with pytest.raises(Unsupported, match=r"2 of 3 examples .* 0\.25 .*'x': \[2\]"):
        expect_parity(GRAPH, found)


@pytest.mark.parametrize(
    ("wanted", "got"),
    [
        ([1.0, math.nan], [1.0, 1.0]),
        ([1.0, 1.0], [1.0, math.nan]),
        ([1.0, math.inf], [1.0, -math.inf]),
        ([1.0, -math.inf], [1.0, -1e38]),
        ([1.0, 2.0], [1.0, math.inf]),
        ([1.0, 2.0], [1.0]),
        ([1.0, 2.0], np.array([1.0, 2.0])),
    ],
)
def test_other_places_of_nan_and_infinity_shapes_and_dtypes_are_refused(wanted, got):
    found = figures(wanted, got)
    assert found.worst().largest == math.inf
    with pytest.raises(Unsupported, match="inf"):
        expect_parity(GRAPH, found)


def test_equal_infinities_are_equal():
    same = [1.0, math.inf, -math.inf, math.nan]
    found = figures(same, list(same))
    assert found.worst().largest == 0.0
    expect_parity(GRAPH, found)


def test_nothing_at_all_is_equal_to_itself():
    assert figures([], []).worst().largest == 0.0


def test_figures_can_be_said_in_json_even_where_nothing_but_zeros_is_wanted():
    said = json.loads(json.dumps(figures([0.0, 0.0], [1e-4, 0.0]).said(), allow_nan=False))
    assert said["largest"] == pytest.approx(1e-4)
    assert said["examples"][0]["shapes"] == {"x": [2]}


def test_integers_and_bools_are_compared_too():
    assert figures(np.array([3, 4]), np.array([3, 6])).worst().largest == 2.0
    assert figures(np.array([True]), np.array([False])).worst().largest == 1.0


def test_writes_are_compared_beside_outputs():
    graph = Graph("step", GRAPH.inputs, (Y,), writes=(Tensor("m", "float32", ("B",)),))
    one, two = np.ones(1, np.float32), np.full(1, 2, np.float32)
    found = compare(graph, lambda _: {"y": one, "m": one}, lambda _: {"y": one, "m": two}, [{}])
    assert found.worst().largest == 1.0


def test_no_example_is_no_proof():
    with pytest.raises(Unsupported, match="no examples"):
        compare(GRAPH, dict, dict, [])


@pytest.mark.parametrize(
    ("wanted", "got", "fits"),
    [
        ([100.0, 1.0], [100.05, 1.0], True),  # 5e-4 of the largest value
        ([100.0, 1.0], [100.2, 1.0], False),
        ([0.01, 0.02], [0.0105, 0.02], True),  # below 1 the difference itself counts
        ([0.01, 0.02], [0.0125, 0.02], False),
    ],
)
def test_tolerance_is_relative_where_values_exceed_1(wanted, got, fits):
    found = figures(wanted, got)
    assert (found.worst().scaled <= GRAPH.tolerance) == fits
    if not fits:
        with pytest.raises(Unsupported):
            expect_parity(GRAPH, found)
