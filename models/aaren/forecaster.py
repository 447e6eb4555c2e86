"""The streaming forecaster: one value at a time in, quantiles of the next H out.

A token is the window of the last L values on its own scale. Blocks of a token mixer make of the
tokens so far the weights of a few linear forecasts from the window, which start as seasonal means
of common periods and are learned, and the quantiles around their sum.

Letters: B series, T steps (padded), L values of a window, W width, K levels, H horizon, E experts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from foretoken.models.aaren.anomaly import surprise
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.scale import (
    FEATURES,
    RECENT,
    View,
    added,
    decayed,
    features,
    view,
    windows,
)
from foretoken.models.layers.mixers import MixerFactory, State
from foretoken.models.layers.precision import exactly
from foretoken.models.layers.stack import Stack

__all__ = ["Forecaster"]

PERIODS = (1, 7, 12, 24, 48, 96, 168)  # of the first forecasts; the last expert is the mean
WIDEST = 10.0  # log of the largest step from one quantile to the next, in scales


class Forecaster(nn.Module):
    """Graphs "step" and "scan", and ``forecasts`` to train by.

    Args:
        config: sizes.
        mixer: of each layer.
    """

    cumulate: Tensor

    def __init__(self, config: AarenConfig, mixer: MixerFactory) -> None:
        super().__init__()
        c = self.config = config
        W, K = c.width, len(c.levels)
        self.embed_in = nn.Linear(c.window + min(RECENT, c.window) + FEATURES, W)
        self.embed_out = nn.Linear(W, W)
        self.stack = Stack(W, c.layers, c.mlp, mixer)
        start = _seasonal_means(c.window, c.horizon)
        self.experts = nn.Parameter(start.flatten(0, 1))  # [E·H, L]
        self.gates = nn.Linear(W, len(start))
        self.head = nn.Linear(W, K * c.horizon)
        self.register_buffer("cumulate", _cumulate(K), persistent=False)
        with torch.no_grad():
            self.gates.weight.mul_(0.1)
            self.gates.bias.fill_(1 / len(start))
            self.head.weight.mul_(0.1)
            self.head.bias.view(K, -1)[:].fill_(-1.5)
            self.head.bias.view(K, -1)[K // 2].zero_()

    def start(self, B: int) -> State:
        """The state before the first value, by name."""
        c, like = self.config, self.cumulate
        wide = like.new_zeros(B, c.window + 3 + len(c.levels), dtype=torch.float64)
        window, sums, ahead = torch.split(wide, [c.window, 3, len(c.levels)], dim=1)
        seen = torch.zeros(B, dtype=torch.long, device=like.device)
        return {
            **self.stack.start(B),
            "window": window,
            "seen": seen,
            "sums": sums,
            "ahead": ahead,
        }

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One value of each series.

        Args:
            x: [B, 1] float64.
            state: as ``start`` has it. Of the stack; window [B, L] float64, the newest value last;
                seen [B] int64, values so far; sums [B, 3] float64, see ``scale.decayed``; ahead
                [B, K] float64, the quantiles that were forecast for x.

        Returns:
            z [B, K, H] float32, loc and scale [B] float64, of which quantiles are loc + scale·z;
            anomaly [B] float32; and the state in the order that it was given.
        """
        *mixed, window, seen, sums, ahead = state
        token, v, first = self._one(x, window, seen, sums)
        h, new = self.stack.step(token, self._named(mixed))
        made, ahead = self._answer(x, h, v, seen, ahead)
        return (*made, *new.values(), *first, ahead)

    def step_(self, x: Tensor, *pools: Tensor) -> tuple[Tensor, ...]:
        """``step`` of rows of pools, which are changed in place; [B] int64 slots come last."""
        *mixed, window, seen, sums, ahead, slots = pools
        own = (window, seen, sums, ahead)
        *before, foretold = (pool.index_select(0, slots) for pool in own)
        token, v, first = self._one(x, *before)
        h = self.stack.step_(token, self._named(mixed), slots)
        made, then = self._answer(x, h, v, before[1], foretold)
        for pool, after in zip(own, (*first, then), strict=True):
            pool.index_copy_(0, slots, after)
        return made

    def _one(
        self, x: Tensor, window: Tensor, seen: Tensor, sums: Tensor
    ) -> tuple[Tensor, View, tuple[Tensor, Tensor, Tensor]]:
        """x [B, 1] -> token [B, W], view, and window, seen and sums after it."""
        window, seen = torch.cat([window[:, 1:], x], dim=1), seen + 1
        v = view(window, seen[:, None])
        sums = added(sums, _terms(x, v))
        return self._token(v, features(v, sums)), v, (window, seen, sums)

    def _answer(
        self, x: Tensor, h: Tensor, v: View, seen: Tensor, ahead: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """h [B, W] -> what ``step`` returns before the state, and the next ``ahead``."""
        z = self._quantiles(h, v.wide)
        anomaly = surprise(x, ahead, self.config.levels).float() * (seen > 0)
        return (z, v.loc[:, 0], v.scale[:, 0], anomaly), _next(v, z)

    def scan(self, x: Tensor, length: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """``step`` over x [B, T, 1]; outputs get an axis T, the state is that after ``length``."""
        *mixed, window, seen, sums, ahead = state
        v, count, tokens, sums = self._tokens(x[..., 0], window, seen, sums)
        h, new = self.stack.scan(tokens, length, self._named(mixed))
        z = self._quantiles(h, v.wide)
        foretold = torch.cat([ahead[:, None], _next(v, z)], dim=1)  # [B, T + 1, K]
        told = surprise(x, foretold[:, :-1], self.config.levels)
        anomaly = told.float() * (count > 1)
        L = self.config.window
        last = torch.cat([window, x[..., 0]], dim=1).gather(1, length[:, None] + _range(L, x))
        rows = torch.arange(len(x), device=x.device)
        after = (last, seen + length, sums[rows, length], foretold[rows, length])
        return (z, v.loc[..., 0], v.scale[..., 0], anomaly, *new.values(), *after)

    def _named(self, mixed: Sequence[Tensor]) -> State:
        return dict(zip(self.stack.start(0), mixed, strict=True))

    def forecasts(self, x: Tensor, at: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Forecasts from the start of each series at some steps, to train and evaluate by.

        Args:
            x: [B, T] float64.
            at: [P] indices of x after which to forecast.

        Returns:
            z [B, P, K, H] float32, loc and scale [B, P] float64.
        """
        start = self.start(len(x))
        v, _, tokens, _ = self._tokens(x, start["window"], start["seen"], start["sums"])
        h = self.stack(tokens)[:, at]
        return self._quantiles(h, v.wide[:, at]), v.loc[:, at, 0], v.scale[:, at, 0]

    forward = forecasts

    def _tokens(
        self, x: Tensor, window: Tensor, seen: Tensor, sums: Tensor
    ) -> tuple[View, Tensor, Tensor, Tensor]:
        """x [B, T] -> view, values so far [B, T], tokens [B, T, W], sums [B, T + 1, 3]."""
        count = seen[:, None] + _range(x.shape[1], x) + 1
        v = view(windows(window, x), count[..., None])
        after = decayed(sums, _terms(x[..., None], v))
        token = self._token(v, features(v, after))
        return v, count, token, torch.cat([sums[:, None], after], dim=1)

    def _token(self, v: View, told: Tensor) -> Tensor:
        """[..., W]."""
        with exactly(told):  # also where weights are kept in bfloat16
            first = self.embed_in
            inputs = torch.cat([v.wide, v.close, told], dim=-1)
            h = functional.linear(inputs, first.weight.float(), first.bias.float())
        out: Tensor = self.embed_out(functional.gelu(h))
        return out

    def _quantiles(self, h: Tensor, wide: Tensor) -> Tensor:
        """[..., W] and windows [..., L] -> [..., K, H] that do not fall along K."""
        c = self.config
        K, H = len(c.levels), c.horizon
        gates, raw = self.gates(h).float(), torch.unflatten(self.head(h).float(), -1, (K, H))
        with exactly(h):
            linear = torch.unflatten(wide @ self.experts.T, -1, (-1, H))
            base = gates[..., None, :] @ linear  # [..., 1, H]
            middle = raw[..., K // 2 : K // 2 + 1, :] + base
            quantiles: Tensor = middle + self.cumulate @ raw.clamp(max=WIDEST).exp()
            return quantiles


def _terms(x: Tensor, v: View) -> Tensor:
    """x [..., 1] -> what is added to decayed sums, [..., 3]."""
    return torch.cat([torch.ones_like(x), x, v.scale.log()], dim=-1)


def _next(v: View, z: Tensor) -> Tensor:
    """The quantiles of the next value, [..., K] float64, of z [..., K, H]."""
    return v.loc + v.scale * z[..., 0].double()


def _range(n: int, like: Tensor) -> Tensor:
    return torch.arange(n, device=like.device)


def _cumulate(K: int) -> Tensor:
    """[K, K]: from steps on either side of the middle, whose own is none, to what lies between."""
    half = K // 2
    out = torch.zeros(K, K)
    out[:half, :half] = -torch.ones(half, half).triu()
    out[half + 1 :, half + 1 :] = torch.ones(half, half).tril()
    return out


def _seasonal_means(L: int, H: int) -> Tensor:
    """[E, H, L]: the mean of values of the window that lie whole periods before each step ahead."""
    ahead = torch.arange(H)[:, None] - torch.arange(-L, 0)  # steps from a value to a forecast's
    maps = [torch.zeros(H, L)]
    for period in (p for p in PERIODS if p < L):
        same = (ahead % period == 0) & (torch.arange(-L, 0) >= -(L // period * period))
        if period == 1:
            same = torch.arange(-L, 0).eq(-1).expand(H, L)
        maps.append(same / same.sum(1, keepdim=True))
    return torch.stack(maps)
