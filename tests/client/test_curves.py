"""Curves over the wire: the same posteriors as in this process, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken import Client, CurveExtrapolator
from foretoken.client import curves as module
from foretoken.errors import InvalidInput, NotFound, StaleGeneration

CURVE = 0.9 - 0.6 * np.arange(1.0, 21.0) ** -0.5
LOSS = 3 * np.arange(1.0, 31.0) ** -0.4 + 0.5


@pytest.fixture
def local(server):
    return lambda **given: CurveExtrapolator(data_dir=server.data_dir, **given)


def assert_equal(ours, theirs):
    for name in ("steps", "levels", "logits", "borders", "mean", "quantiles"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes()), name
    assert ours.scale == theirs.scale
    best = float(ours.mean[-1])
    assert ours.beats(best).tobytes() == theirs.beats(best).tobytes()
    assert ours.log_prob(best).tobytes() == theirs.log_prob(best).tobytes()
    assert ours.expected_improvement(best).tobytes() == theirs.expected_improvement(best).tobytes()


@pytest.mark.parametrize(
    ("metric", "y", "asked"),
    [
        ({}, CURVE, {}),
        ({}, CURVE, {"at": [21.0, 60.0, 100.0], "quantiles": [0.01, 0.3]}),
        ({}, CURVE, {"steps": 10 * np.arange(1.0, 21.0), "at": np.arange(210.0, 500.0, 20.0)}),
        ({"minimize": True, "bounds": (0, np.inf)}, LOSS, {"at": [40, 50]}),
        ({"minimize": True, "bounds": (0, 10), "soft_bounds": (0.2, 3)}, LOSS, {}),
    ],
)
def test_one_curve(ask, server, local, metric, y, asked):
    ours = ask(server.address, "extrapolate", "lcpfn", y, **asked, **metric)
    assert_equal(ours, local(**metric).extrapolate(y, **asked))


def test_the_estimator_asks_a_server(server, local):
    here, there = local(), CurveExtrapolator(server=server.address)
    assert_equal(there.extrapolate(CURVE), here.extrapolate(CURVE))
    with Client(server.address) as client:
        asked = CurveExtrapolator("lcpfn:1", client)
        assert_equal(asked.extrapolate(CURVE), here.extrapolate(CURVE))


def test_many_curves_in_several_messages(ask, server, local, monkeypatch):
    monkeypatch.setattr(module, "CURVES", 3)
    ys = [CURVE[:n] for n in range(3, 13)]
    at = [[30.0, 100.0]] * len(ys)
    ours = ask(server.address, "extrapolate_many", "lcpfn", ys, None, at)
    assert len(ours) == len(ys)
    for one, other in zip(ours, local().extrapolate_many(ys, None, at), strict=True):
        np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)
    assert ours[0].borders is ours[2].borders  # sent once


@pytest.mark.parametrize(
    ("limit", "value", "sizes"),
    [("CURVES", 4, [4, 4, 2]), ("POINTS", 25, [6, 3, 1]), ("AHEAD", 30, [3, 3, 3, 1])],
)
def test_parts(monkeypatch, limit, value, sizes):
    monkeypatch.setattr(module, limit, value)
    made = [
        module.curves.Curve(values=[0.1] * n, at=[1.0] * 10) for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    ]
    parts = list(module._parts(made))
    assert [curve for part in parts for curve in part] == made
    assert [len(part) for part in parts] == sizes


def test_no_curves(ask, server):
    assert ask(server.address, "extrapolate_many", "lcpfn", []) == []
    with pytest.raises(NotFound):
        ask(server.address, "extrapolate_many", "nobody", [])


@pytest.mark.parametrize(
    "given",
    [
        {"y": []},
        {"y": [0.1, 1.2]},
        {"y": [0.1, float("nan")]},
        {"y": [0.1, 0.2], "steps": [1]},
        {"y": [0.1, 0.2], "steps": [2, 1]},
        {"y": [0.1], "quantiles": [5]},
        {"y": [0.1], "at": [3, 3]},
    ],
)
def test_errors_are_those_of_in_process_use(ask, server, local, given):
    with pytest.raises(InvalidInput) as here:
        local().extrapolate(**given)
    with pytest.raises(InvalidInput) as there:
        ask(server.address, "extrapolate", "lcpfn", **given)
    assert str(there.value) == str(here.value)


def test_a_bad_one_among_many_is_named(ask, server):
    with pytest.raises(InvalidInput, match="curve 1: value 2"):
        ask(server.address, "extrapolate_many", "lcpfn", [[0.1], [2.0]])


def test_errors_of_the_registry(ask, server):
    with pytest.raises(NotFound, match="nobody"):
        ask(server.address, "extrapolate", "nobody", CURVE)
    with pytest.raises(StaleGeneration):
        ask(server.address, "set_alias", "lcpfn", "champion", 1, expect_generation=77)
