"""The forecaster: steps are scans are what is trained; units, offsets and constants do no harm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.forecaster import _cumulate, _seasonal_means
from foretoken.models.aaren.model import build
from tests.models.aaren.conftest import FORECASTER

K, H = len(FORECASTER.levels), FORECASTER.horizon


def steps(module, x, state):
    """Outputs stacked along T, and the state."""
    made = []
    for t in range(x.shape[1]):
        *outs, m, u, w, window, seen, sums, ahead = module.step(x[:, t], *state)
        made.append(outs)
        state = (m, u, w, window, seen, sums, ahead)
    return [torch.stack(part, dim=1) for part in zip(*made, strict=True)], state


def quantiles(z, loc, scale):
    return loc[..., None, None] + scale[..., None, None] * z


def close(a, b, size=1.0):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * size)


SERIES = {
    "noise": lambda z: z,
    "walk": lambda z: z.cumsum(1),
    "tiny": lambda z: 1e-9 * z,
    "far": lambda z: 1e9 + z,
    "constant": lambda z: torch.full_like(z, -3.7),
    "zeros": torch.zeros_like,
    "jump": lambda z: torch.where(torch.arange(z.shape[1])[:, None] < 30, 5.0, 1e6 + z),
    "trend": lambda z: 1e3 + 10 * torch.ones_like(z).cumsum(1) + 0.01 * z,
}


@pytest.mark.parametrize("name", SERIES)
@torch.no_grad()
def test_scan_steps_and_training_are_one_function(forecaster, name):
    torch.manual_seed(1)
    x = SERIES[name](torch.randn(3, 60, 1, dtype=torch.float64))
    length = torch.tensor([60, 1, 33])
    *scanned, m, u, w, window, seen, sums, ahead = forecaster.scan(
        x, length, *forecaster.start(3).values()
    )
    after = (m, u, w, window, seen, sums, ahead)
    trained = forecaster.forecasts(x[..., 0], torch.arange(60))
    for row, n in enumerate(length):
        one = x[row : row + 1, :n]
        (z, loc, scale, anomaly), state = steps(forecaster, one, forecaster.start(1).values())
        assert z.isfinite().all()
        assert anomaly.isfinite().all()
        close(scanned[0][row, :n], z[0])
        close(trained[0][row, :n], z[0])
        for got, wanted in ((scanned, (loc, scale)), (trained, (loc, scale))):
            torch.testing.assert_close(got[1][row, :n], wanted[0][0], rtol=1e-12, atol=1e-30)
            torch.testing.assert_close(got[2][row, :n], wanted[1][0], rtol=1e-6, atol=1e-30)
        close(scanned[3][row, :n], anomaly[0], size=float(anomaly.max()) + 1)
        for got, wanted in zip(after, state, strict=True):
            close(got[row], wanted[0], size=max(float(wanted.abs().max()), 1e-6))


@torch.no_grad()
def test_units_are_nothing_to_the_model(forecaster):
    x = torch.randn(1, 60, 1, dtype=torch.float64).cumsum(1)
    plain = forecaster.scan(x, torch.tensor([60]), *forecaster.start(1).values())
    for factor in (1e-9, 1e9):
        other = forecaster.scan(factor * x, torch.tensor([60]), *forecaster.start(1).values())
        close(other[0], plain[0], size=10)
        torch.testing.assert_close(other[2], factor * plain[2], rtol=1e-9, atol=0)
        close(other[3], plain[3], size=10)


@torch.no_grad()
def test_quantiles_never_cross(forecaster):
    x = torch.randn(2, 60, 1, dtype=torch.float64).cumsum(1)
    z, loc, scale, *_ = forecaster.scan(x, torch.tensor([60, 60]), *forecaster.start(2).values())
    assert z.shape == (2, 60, K, H)
    assert (quantiles(z, loc, scale).diff(dim=2) >= 0).all()


@torch.no_grad()
def test_small_changes_far_from_zero_are_seen(forecaster):
    """A model that reads 1e9 + z forecasts as one that reads z does, once it has seen 12 values."""
    z = torch.randn(1, 80, 1, dtype=torch.float64)
    length, start = torch.tensor([80]), forecaster.start(1).values()
    far, near = (forecaster.scan(x, length, *start) for x in (1e9 + z, z))
    torch.testing.assert_close(far[2][:, 24:], near[2][:, 24:], rtol=1e-5, atol=0)
    torch.testing.assert_close(far[1][:, 24:] - 1e9, near[1][:, 24:], rtol=0, atol=1e-6)


@torch.no_grad()
def test_the_first_value_is_no_anomaly_and_an_outlier_is(forecaster):
    x = torch.randn(1, 60, 1, dtype=torch.float64)
    x[0, 50] = 1e3
    *_, anomaly, _m, _u, _w, _window, _seen, _sums, _ahead = forecaster.scan(
        x, torch.tensor([60]), *forecaster.start(1).values()
    )
    assert anomaly[0, 0] == 0
    assert anomaly[0, 24:].argmax() == 50 - 24  # a few values say little of a scale
    assert anomaly[0, 50] > 10


@pytest.mark.parametrize("rounds", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_million_steps_leave_the_state_finite_and_as_large_as_it_was(forecaster, rounds):
    state = tuple(forecaster.start(1).values())
    size = [t.numel() for t in state]
    length, t = torch.tensor([500]), torch.arange(500, dtype=torch.float64)[None, :, None]
    with torch.inference_mode():
        for i in range(rounds):
            x = torch.sin((t + 500 * i) / 7) * (1 + i % 5)
            made = forecaster.scan(x, length, *state)
            state = made[4:]
    assert state[4].tolist() == [500 * rounds]
    assert [t.numel() for t in state] == size
    assert all(tensor.isfinite().all() for tensor in made)


def test_the_first_forecasts_are_seasonal_means():
    maps = _seasonal_means(24, 5)
    x = torch.arange(24.0)
    torch.testing.assert_close(maps.sum(2), torch.tensor([0.0, 1, 1, 1]).expand(5, 4).T)
    last, weeks, dozens = (maps[i] @ x for i in (1, 2, 3))
    assert last.tolist() == [23.0] * 5
    assert weeks.tolist() == pytest.approx([10, 11, 12, 13, 14])  # 3, 10 and 17, and so on
    assert dozens.tolist() == pytest.approx([6, 7, 8, 9, 10])


def test_steps_between_quantiles_add_up():
    steps = torch.tensor([3.0, 2.0, 10.0, 1.0, 5.0])  # the middle one is none
    assert (_cumulate(5) @ steps).tolist() == [-5.0, -2.0, 0.0, 1.0, 6.0]


def test_the_paper_s_layers_are_a_configuration():
    c = AarenConfig(width=512, layers=2, mlp=2048, folded=False)
    module = build(c)
    layers = sum(p.numel() for p in module.stack.blocks.parameters())
    assert layers == 2 * (3_152_384 + 512)
    assert isinstance(module, nn.Module)
