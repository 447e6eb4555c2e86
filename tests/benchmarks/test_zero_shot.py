"""What the zero-shot benchmark compares with, and how it scores."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.zero_shot import LEVELS, MOST, losses, naive, smoothed


def days(n=1500):
    t = np.arange(n)
    rng = np.random.default_rng(0)
    return 20 + 5 * np.sin(2 * np.pi * t / 24) + rng.standard_normal(n)


def test_the_naive_forecast_is_the_last_day_and_looks_at_nothing_later():
    y, origin = days(), np.array([1400])
    q = naive(y, origin)
    assert q.shape == (1, len(LEVELS), MOST)
    middle = q[0, len(LEVELS) // 2]
    repeated = y[1377:1401][np.arange(MOST) % 24]
    assert np.abs(middle - repeated).max() < 0.5  # but for the median of a day's errors
    assert (np.diff(q[0], axis=0) >= 0).all()
    later = y.copy()
    later[1401:] = 1e6
    np.testing.assert_array_equal(naive(later, origin), q)


def test_a_sure_forecast_costs_its_error_and_a_right_one_nothing():
    y, origin = np.full(100, 4.0), np.array([20])
    right = np.full((1, len(LEVELS), MOST), 4.0)
    assert losses(y, origin, right)["wql_24"] == 0
    assert losses(y, origin, right + 1)["wql_64"] == pytest.approx(0.25)
    assert losses(y, origin, right)["held_80"] == 1


def test_smoothing_finds_the_day():
    pytest.importorskip("statsmodels", reason="statsmodels comes with the extra bench")
    y, origins = days(), np.array([1300, 1400])
    found = losses(y, origins, smoothed(y, origins, damped=False))
    assert found["wql_24"] < 0.9 * losses(y, origins, naive(y, origins))["wql_24"]
    assert 0.6 < found["held_80"] < 0.95
