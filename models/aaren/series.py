"""Forecasting of one's own series: learned from their beginnings, tested on their ends.

Letters: B pieces of series, T steps, H horizon, N steps of a series.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.models.aaren.forecasting import forecasts, loss, pinball, seasonal_naive
from foretoken.models.aaren.model import build
from foretoken.models.aaren.train import EVERY, Preset
from foretoken.models.contract import Array
from foretoken.models.layers.mixers import MixerFactory

__all__ = ["SeriesTask"]

LONGEST = 512  # steps of a piece
PART = 256  # steps of a series' end that are forecast from at a time


class SeriesTask:
    """Forecasting of series (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes.
        series: float64 [N] each, evenly spaced.
        test: share at the end of each that is not learned from.
        season: steps of the seasonal naive forecast to compare with.
        every: steps between forecasts in the test.
        device: where batches are made.
        mixer: of the model's layers; the default is Aaren.

    Raises:
        InvalidInput: a series is too short to learn from, or to test on.
    """

    module: nn.Module

    def __init__(
        self,
        preset: Preset,
        series: Sequence[Array],
        *,
        test: float = 0.2,
        season: int = 24,
        every: int = 4,
        device: torch.device | str = "cpu",
        mixer: MixerFactory | None = None,
    ) -> None:
        self.preset, self.device, self.season, self.every = preset, device, season, every
        H = preset.config.horizon
        self.ends = [len(y) - round(test * len(y)) for y in series]
        for i, (y, end) in enumerate(zip(series, self.ends, strict=True)):
            if end < max(2 * H, H + 16, season) or len(y) - end < H:
                raise InvalidInput(
                    f"series {i} has {len(y)} values: to forecast {H} steps at least "
                    f"{5 * max(H, season, 16)} are needed; choose a smaller horizon"
                )
        self.series = [torch.tensor(y, dtype=torch.float64, device=device) for y in series]
        self.T = min(LONGEST, min(self.ends) - H)
        torch.manual_seed(preset.recipe.seed)
        self.module = build(preset.config, mixer).to(device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        return {
            "config": asdict(self.preset.config),
            "batch": self.preset.batch,
            "series": len(self.series),
            "values": sum(map(len, self.series)),
            "learned": sum(self.ends),
        }

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """Pieces [B, T + H] of what is learned from, and steps to forecast after."""
        del step
        N, device = self.T + self.preset.config.horizon, generator.device
        room = torch.tensor([end - N + 1 for end in self.ends], device=device)
        chosen = torch.multinomial(
            room.double(), self.preset.batch, replacement=True, generator=generator
        )
        u = torch.rand(len(chosen), generator=generator, device=device)
        starts = (u * room[chosen]).long().clamp(max=room[chosen] - 1)
        pairs = zip(chosen.tolist(), starts.tolist(), strict=True)
        y = torch.stack([self.series[i][first : first + N] for i, first in pairs])
        at = torch.randperm(self.T, generator=generator, device=device)
        return y, at[: max(self.T // EVERY, 1)].sort().values

    def loss(self, module: Callable[..., Any], batch: tuple[Tensor, ...]) -> Tensor:
        """Pinball, see ``forecasting.loss``."""
        y, at = batch
        return loss(module, y, at, self.preset.config)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Of forecasts within the test part, all values over the mean absolute one.

        ``wql`` is the mean of ``pinball`` over levels, ``mae`` the mean absolute error of the
        median, ``mae_seasonal`` that of the seasonal naive forecast.
        """
        sums = torch.zeros(4, dtype=torch.float64)
        for y, end in zip(self.series, self.ends, strict=True):
            for first in range(end - 1, len(y) - self.preset.config.horizon, PART):
                sums += self._part(module, y, first)
        wql, mae, seasonal, size = sums.tolist()
        size = max(size, 1e-30)
        return {"wql": wql / size, "mae": mae / size, "mae_seasonal": seasonal / size}

    def _part(self, module: nn.Module, y: Tensor, first: int) -> Tensor:
        """Sums of errors and of sizes of forecasts from steps ``first`` on."""
        c = self.preset.config
        begin = max(first - LONGEST, 0)
        last = min(first + PART, len(y) - c.horizon)
        piece = y[None, begin : last + c.horizon]
        at = torch.arange(first - begin, last - begin, self.every, device=y.device)
        quantiles, target = forecasts(module, piece, at, c)
        naive = seasonal_naive(piece, at, c.horizon, self.season)
        errors = (
            pinball(quantiles, target, c.levels).mean(2),
            quantiles[:, :, len(c.levels) // 2] - target,
            naive - target,
            target,
        )
        return torch.stack([e.abs().sum() for e in errors]).cpu()
