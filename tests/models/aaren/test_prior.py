"""The prior: numbers, the same for a seed, of all the sorts that are promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.models.aaren.prior import sample
from foretoken.models.aaren.prior.draws import Draw, unit
from foretoken.models.aaren.prior.events import counted, disturbed, measured
from foretoken.models.aaren.prior.noise import noise
from foretoken.models.aaren.prior.seasons import seasonal
from foretoken.models.aaren.prior.trends import coloured_ar, slow


def draw(B=256, N=400, seed=0):
    return Draw(B, N, torch.Generator().manual_seed(seed))


def correlation(y, lag):
    """Of each row with itself, ``lag`` steps later."""
    a, b = unit(y[:, :-lag]), unit(y[:, lag:])
    return (a * b).mean(1)


def test_series_are_numbers_and_follow_from_the_seed():
    one, again, other = (sample(64, 300, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.shape == (64, 300)
    assert one.dtype == torch.float64
    assert one.isfinite().all()
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("part", [slow, seasonal, noise])
def test_parts_are_of_one_size(part):
    y = part(draw())
    assert y.isfinite().all()
    torch.testing.assert_close(y.mean(1), torch.zeros(256), atol=1e-3, rtol=0)
    assert ((y.std(1) - 1).abs() < 1e-2).float().mean() > 0.99


def test_slow_parts_are_slow_seasons_return_and_most_noise_forgets():
    assert correlation(slow(draw()), 1).median() > 0.9
    returning = torch.stack([correlation(seasonal(draw()), lag) for lag in (24, 48, 7, 12, 96)])
    assert (returning.amax(0) > 0.8).float().mean() > 0.5
    assert correlation(noise(draw()), 40).abs().median() < 0.15


def test_an_autoregression_has_the_memory_it_is_given():
    y = coloured_ar(draw(64, 4000).normal(4000), torch.full((64, 1), 0.8))
    assert correlation(y, 1).mean() == pytest.approx(0.8, abs=0.02)
    assert correlation(y, 3).mean() == pytest.approx(0.8**3, abs=0.04)


def test_nothing_wraps_around():
    """The end of a filtered series knows nothing of its beginning."""
    e = torch.zeros(1, 500)
    e[0, -1] = 1.0
    assert coloured_ar(e, torch.tensor([[0.95]]))[0, :-1].abs().max() < 1e-5


def test_counts_are_whole_or_rare():
    y = counted(draw(), torch.zeros(256, 400))
    whole = (y == y.round()).all(1)
    assert (y >= 0).all()
    assert 0.5 < whole.float().mean() < 0.95
    assert (y == 0).float().mean() > 0.1


def test_events_leave_most_series_alone():
    y = draw(seed=1).normal(400)
    assert 0.2 < (disturbed(draw(), y) == y).all(1).float().mean() < 0.8
    assert 0.4 < (measured(draw(), y) == y).all(1).float().mean() < 0.95


def test_the_sorts_of_series_that_streams_bring_are_there():
    y = sample(2000, 400, torch.Generator().manual_seed(0)).numpy()
    steps = np.abs(np.diff(y, axis=1))
    spread = y.std(1)
    assert ((steps == 0).mean(1) > 0.3).mean() > 0.02, "values that are held or whole"
    assert (y.min(1) >= 0).mean() > 0.3, "series that are never negative"
    assert (y.max(1) < 0).mean() > 0.05, "series below zero"
    assert (np.abs(y.mean(1)) > 100 * spread).mean() > 0.05, "series far from zero"
    centred = np.abs(y - np.median(y, axis=1, keepdims=True))
    far = centred.max(1) > 8 * 1.48 * np.median(centred, axis=1)
    assert 0.03 < far.mean() < 0.5, "outliers"
    lag = np.mean(unit(torch.tensor(y[:, :-24])).numpy() * unit(torch.tensor(y[:, 24:])).numpy(), 1)
    assert (lag > 0.7).mean() > 0.15, "days"
