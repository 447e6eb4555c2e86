"""The cost of calls, learnt from those that have run."""

from __future__ import annotations

import pytest

from foretoken.server.engine.cost import Cost


def test_nothing_known_costs_nothing():
    assert Cost().expect(1000) == 0


def test_one_size_alone_scales_with_what_is_larger():
    cost = Cost()
    cost.learn(10, 0.5)
    assert cost.expect(10) == pytest.approx(0.5)
    assert cost.expect(20) == pytest.approx(1.0)
    assert cost.expect(1) == pytest.approx(0.5)  # what is smaller may still be mostly overhead


def test_a_straight_line_is_found():
    cost = Cost()
    for tokens in (10, 500, 30, 1000):
        cost.learn(tokens, 0.002 + 1e-5 * tokens)
    assert cost.expect(200) == pytest.approx(0.004)
    assert cost.expect(0) == pytest.approx(0.002)


def test_recent_calls_count_more():
    cost = Cost()
    for _ in range(200):
        cost.learn(10, 1.0)
        cost.learn(100, 1.0)
    for _ in range(200):
        cost.learn(10, 3.0)
        cost.learn(100, 3.0)
    assert cost.expect(50) == pytest.approx(3.0, rel=0.01)


def test_no_expectation_is_negative():
    falling, steep = Cost(), Cost()
    for tokens, seconds in ((10, 2.0), (100, 1.0)):
        falling.learn(tokens, seconds)
    for tokens, seconds in ((100, 0.001), (200, 1.0)):
        steep.learn(tokens, seconds)
    assert falling.expect(1000) >= 0
    assert steep.expect(1) >= 0
