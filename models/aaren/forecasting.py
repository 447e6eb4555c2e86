"""What a forecaster is trained to do: pinball loss over levels and steps ahead.

Letters: B series, T steps seen, P steps after which to forecast, K levels, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from foretoken.models.aaren.config import AarenConfig

__all__ = ["figures", "forecasts", "futures", "loss", "pinball", "seasonal_naive"]

FAR = 4.0  # scales; futures that lie farther away on average than this weigh less


def futures(y: Tensor, at: Tensor, horizon: int) -> Tensor:
    """The H values after each of some steps: y [B, N], at [P] -> [B, P, H]."""
    ahead = torch.arange(1, horizon + 1, device=y.device)
    return y[:, at[:, None] + ahead]


def pinball(z: Tensor, target: Tensor, levels: Sequence[float]) -> Tensor:
    """Twice the quantile loss, z [..., K, H] and target [..., H] -> [..., K, H].

    Its mean over evenly spread levels is the continuous ranked probability score.
    """
    p = torch.tensor(levels, device=z.device, dtype=z.dtype)[:, None]
    error = target[..., None, :] - z
    return 2 * torch.maximum(p * error, (p - 1) * error)


def loss(
    module: Callable[..., tuple[Tensor, ...]], y: Tensor, at: Tensor, config: AarenConfig
) -> Tensor:
    """Mean pinball loss in units of each window's scale.

    Args:
        module: a ``Forecaster``, which may be compiled.
        y: [B, T + H] float64.
        at: [P] steps to forecast after, 0..T-1.
        config: of the module.
    """
    z, loc, scale = module(y[:, : y.shape[1] - config.horizon], at)
    target = ((futures(y, at, config.horizon) - loc[..., None]) / scale[..., None]).float()
    target = target.clamp(-1e4, 1e4)
    weight = 1 / (target.abs().mean(-1) / FAR).clamp(min=1)
    return (pinball(z, target, config.levels).mean((-1, -2)) * weight).mean()


def forecasts(
    module: nn.Module, y: Tensor, at: Tensor, config: AarenConfig
) -> tuple[Tensor, Tensor]:
    """Quantiles [B, P, K, H] in the series' units, and what came, [B, P, H]; float64."""
    z, loc, scale = module(y[:, : y.shape[1] - config.horizon], at)
    quantiles = loc[..., None, None] + scale[..., None, None] * z
    return quantiles, futures(y, at, config.horizon)


def seasonal_naive(y: Tensor, at: Tensor, horizon: int, season: int) -> Tensor:
    """The newest value that lies whole seasons before each step ahead, [B, P, H].

    Args:
        y: [B, N].
        at: [P], at least season - 1.
        horizon: H.
        season: in steps; 1 repeats the last value.
    """
    ago = torch.arange(horizon, device=y.device) % season + 1 - season
    return y[:, at[:, None] + ago]


def figures(
    module: nn.Module, y: Tensor, at: Tensor, config: AarenConfig, season: int
) -> dict[str, float]:
    """Held-out figures, all over the mean absolute error of the last value as a forecast.

    Medians over series of the mean over steps: ``wql`` is the mean of ``pinball`` over levels,
    ``mae`` that of the median forecast, ``mae_seasonal`` that of the seasonal naive one.
    """
    quantiles, target = forecasts(module, y, at, config)
    H, middle = config.horizon, len(config.levels) // 2
    naive = (target - seasonal_naive(y, at, H, 1)).abs().mean((1, 2)).clamp(min=1e-30)
    errors = {
        "wql": pinball(quantiles, target, config.levels).mean(2),
        "mae": (quantiles[:, :, middle] - target).abs(),
        "mae_seasonal": (target - seasonal_naive(y, at, H, season)).abs(),
    }
    return {name: float((e.mean((1, 2)) / naive).median()) for name, e in errors.items()}
