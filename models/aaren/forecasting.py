"""What a forecaster is trained to do: pinball loss over levels and steps ahead.

Letters: B series, T steps seen, P steps after which to forecast, K levels, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Batch", "figures", "futures", "loss", "pinball"]

Batch = tuple[Tensor, ...]
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
    module: Callable[..., tuple[Tensor, ...]], batch: Batch, levels: Sequence[float]
) -> Tensor:
    """Mean pinball loss in units of each window's scale.

    Args:
        module: ``Forecaster`` or a peer with the same ``forecasts``.
        batch: y [B, T + H] float64, and steps [P].
        levels: K.
    """
    y, at, horizon = batch[0], batch[1], int(batch[2])
    z, loc, scale = module(y[:, : y.shape[1] - horizon], at)
    target = ((futures(y, at, horizon) - loc[..., None]) / scale[..., None]).float()
    target = target.clamp(-1e4, 1e4)
    weight = 1 / (target.abs().mean(-1) / FAR).clamp(min=1)
    return (pinball(z, target, levels).mean((-1, -2)) * weight).mean()


def figures(
    module: nn.Module, y: Tensor, at: Tensor, horizon: int, levels: Sequence[float], season: int
) -> dict[str, float]:
    """Held-out figures, all over the mean absolute error of the last value as a forecast.

    Medians over series of the mean over steps: ``wql`` is the mean of ``pinball`` over levels,
    ``mae`` that of the median forecast, ``mae_seasonal`` that of the seasonal naive one.
    """
    z, loc, scale = module(y[:, : y.shape[1] - horizon], at)
    quantiles = loc[..., None, None] + scale[..., None, None] * z
    target = futures(y, at, horizon)
    naive = (target - y[:, at, None]).abs().mean((1, 2)).clamp(min=1e-30)
    ago = torch.arange(horizon, device=y.device) % season + 1 - season
    seasonal = (target - y[:, at[:, None] + ago]).abs().mean((1, 2))
    median = quantiles[:, :, len(levels) // 2]
    return {
        "wql": float((pinball(quantiles, target, levels).mean((1, 2, 3)) / naive).median()),
        "mae": float(((median - target).abs().mean((1, 2)) / naive).median()),
        "mae_seasonal": float((seasonal / naive).median()),
    }
