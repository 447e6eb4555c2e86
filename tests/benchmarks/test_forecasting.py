"""Forecasts of a part are those of its origins, and long sequences are stepped as stacks scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import forecasting
from benchmarks.series import etth1
from benchmarks.series.mixers import MIXERS
from benchmarks.stepping.sequence import Shape, begin


class LastValue(nn.Module):
    """Forecasts the newest value, plus hundredths of steps ahead in the median alone."""

    def forecasts(self, x, at):
        H, K = forecasting.HORIZONS[-1], len(forecasting.LEVELS)
        z = torch.full((len(x), len(at), K, H), torch.nan)
        z[:, :, K // 2] = torch.arange(1, H + 1) / 100
        return z, x[:, at], torch.ones(len(x), len(at), dtype=x.dtype)


def test_every_origin_is_forecast_from_what_came_before_it():
    values = np.random.default_rng(0).standard_normal((336 + 500, 7)).astype(np.float32)
    part = etth1.Part(values, first=336)
    made = forecasting.forecasts(LastValue(), part)
    assert made.shape == (500, 192, 7)
    np.testing.assert_allclose(made[:, 0], values[335:-1] + np.float32(0.01), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made[:, 191] - made[:, 0], 1.91, rtol=1e-4)
    errors = forecasting.errors(made, part)
    by_hand = values[335:-24, None] - values[336 + np.arange(477)[:, None] + np.arange(24)]
    by_hand += np.arange(1, 25)[:, None] / 100
    assert errors[24]["mse"] == pytest.approx((by_hand**2).mean(), rel=1e-5)
    assert errors[24]["mae"] == pytest.approx(np.abs(by_hand).mean(), rel=1e-5)


def test_the_naive_forecast_errs_by_differences_of_whole_days():
    days = np.tile(np.random.default_rng(0).standard_normal((24, 7)), (40, 1)).astype(np.float32)
    part = etth1.Part(days, first=336)
    assert forecasting.naive(part) == {H: {"mse": 0, "mae": 0} for H in forecasting.HORIZONS}


def run_of(mixer, seed, mse):
    test = {H: {"mse": mse, "mae": mse / 2} for H in forecasting.HORIZONS}
    return {"mixer": mixer, "window": 24, "seed": seed, "test": test}


def test_summaries_are_means_over_seeds_beside_the_transformers():
    runs = [run_of("aaren", 0, 0.3), run_of("aaren", 1, 0.5), run_of("transformer", 0, 0.5)]
    ours, theirs = forecasting.summary(runs)
    assert ours["96"]["mse"] == pytest.approx(0.4)
    assert ours["96"]["mse_std"] == pytest.approx(0.1)
    assert ours["96"]["mse_over_transformer"] == pytest.approx(0.8)
    assert theirs["24"]["mae_over_transformer"] == 1


@torch.inference_mode()
@pytest.mark.parametrize("mixer", MIXERS)
def test_a_run_steps_through_what_a_stack_maps_at_once(mixer):
    run = begin(Shape("small", 16, 2, 2, 32), mixer)
    tokens = torch.randn(9, 16, generator=torch.Generator().manual_seed(0))
    made = torch.cat([run.step(token) for token in tokens.split(1)])
    torch.testing.assert_close(made, run.stack(tokens[None])[0], rtol=1e-4, atol=1e-5)
    run.advance(tokens)
    assert len(run.seconds) == len(run.sizes) == 1
    per_layer = sum(t.nbytes for t in run.states[0].values())
    assert run.sizes[0] == 2 * per_layer
