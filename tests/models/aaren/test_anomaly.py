"""The anomaly score is -log10 of a two-sided tail probability."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from foretoken.models.aaren.anomaly import MOST, surprise
from foretoken.models.aaren.config import LEVELS

NORMAL = torch.tensor(stats.norm.ppf(LEVELS))


def score(x, quantiles=NORMAL):
    return float(surprise(torch.tensor([float(x)], dtype=torch.float64), quantiles, LEVELS))


@pytest.mark.parametrize("i", range(len(LEVELS)))
def test_at_a_quantile_it_is_that_of_its_level(i):
    p = LEVELS[i]
    wanted = -math.log10(2 * min(p, 1 - p))
    assert score(NORMAL[i]) == pytest.approx(wanted, abs=1e-6)


def test_it_is_near_that_of_the_distribution_between_and_beyond():
    for x in (-3.0, -2.0, -1.0, 0.3, 1.5, 2.8):
        wanted = -math.log10(2 * stats.norm.sf(abs(x)))
        assert score(x) == pytest.approx(wanted, abs=0.25)


def test_it_grows_away_from_the_median_to_a_limit():
    scores = [score(x) for x in (0, 0.5, 1, 2, 3, 10, 100, 1e9, 1e300)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(0, abs=1e-12)
    assert scores[-1] == MOST


def test_both_sides_count():
    assert score(-4.0) == pytest.approx(score(4.0))


def test_what_was_foretold_for_sure_is_no_surprise_and_all_else_is():
    sure = torch.full((len(LEVELS),), 7.0, dtype=torch.float64)
    assert score(7.0, sure) == pytest.approx(0, abs=1e-12)
    assert score(7.1, sure) == score(6.9, sure) == MOST


def test_quantiles_that_are_partly_the_same_give_numbers():
    some = torch.tensor([0.0] * 6 + [1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
    assert score(0.0, some) == pytest.approx(-math.log10(2 * 0.255), abs=0.01)
    assert 0 < score(4.9, some) < score(6.0, some) < score(60.0, some) <= MOST


def test_gradients_and_axes_are_nobody_s_concern():
    x = torch.randn(3, 4, 1, dtype=torch.float64)
    q = NORMAL.expand(3, 4, -1)
    assert surprise(x, q, LEVELS).shape == (3, 4)
