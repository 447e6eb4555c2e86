"""Running scale of a series: windows of the last values, normalised, in float64.

A value is seen relative to the mean of the last L values in units of their mean absolute deviation;
both follow the series, so that its units and drifts are nothing that a network has to know. Beside
the window there are decayed sums of all values and log scales before it, by which it knows whether
the present is unlike the past.

Letters: B series, T steps, L values of a window, R recent ones; ... is [B] or [B, T]. What there is
one of at each step keeps an axis of 1, so that an exported graph never has to give it one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FEATURES", "RECENT", "View", "added", "decayed", "features", "view", "windows"]

RECENT = 32
MEMORY = 512.0  # steps after which what was seen counts 1/e
FEATURES = 6
NORMAL = 1.2533141373155001  # standard deviation / mean absolute deviation of a normal
FINEST = 12  # decimal digits to which a constant series is taken as known, one for each value seen
TINY = 1e-30
FARTHEST = 16.0  # scales; what lies beyond is seen there


@dataclass(frozen=True)
class View:
    """What a network reads, and how its outputs are meant.

    Args:
        n: [..., 1] float64, values in the window.
        loc: [..., 1] float64, mean of the window.
        scale: [..., 1] float64, above 0.
        near: [..., 1] float64, scale of the last R values of the window.
        wide: [..., L] float32, the window on its scale.
        close: [..., R] float32, its last R values on their own.
    """

    n: Tensor
    loc: Tensor
    scale: Tensor
    near: Tensor
    wide: Tensor
    close: Tensor


def windows(window: Tensor, x: Tensor) -> Tensor:
    """The last L values at each step: window [B, L] before x [B, T] -> [B, T, L]."""
    T, L = x.shape[1], window.shape[1]
    steps = torch.arange(T, device=x.device)[:, None]
    at = steps + torch.arange(1, L + 1, device=x.device)
    every = torch.cat([window, x], dim=1)
    return torch.unflatten(every.index_select(1, at.flatten()), 1, (T, L))


def view(last: Tensor, seen: Tensor) -> View:
    """Normalise windows.

    Differences to the newest value are small numbers, however far all of them are from 0, and those
    of a constant window are 0 and nothing else.

    Args:
        last: [..., L] float64; the newest value is last, what lies before the first is 0.
        seen: [..., 1] integers, values so far, at least 1.
    """
    L, newest = last.shape[-1], last[..., -1:]
    n = seen.clamp(max=L).double()
    real = torch.arange(L, device=last.device) >= L - n
    counts = real.double()  # a product is faster than a choice
    after = (last - newest) * counts
    mean, spread, apart = _centred(after, counts, n)
    loc = newest + mean
    floor = loc.abs() * 10.0 ** -n.clamp(max=FINEST)
    scale = torch.maximum(spread, floor).clamp(min=TINY)
    _, near, close = _centred(after[..., -RECENT:], counts[..., -RECENT:], n.clamp(max=RECENT))
    near = torch.maximum(near, 1e-3 * scale)
    return View(n, loc, scale, near, _seen(apart / scale), _seen(close / near))


def _centred(after: Tensor, counts: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and scale [..., 1] of n values that count, and their deviations, 0 for the others."""
    mean = after.sum(-1, keepdim=True) / n
    apart = (after - mean) * counts
    return mean, NORMAL * apart.abs().sum(-1, keepdim=True) / n, apart


def _seen(scaled: Tensor) -> Tensor:
    return scaled.float().clamp(-FARTHEST, FARTHEST)


def added(sums: Tensor, term: Tensor) -> Tensor:
    """Decayed sums [B, 3] before a term [B, 3] -> after it."""
    # A number is exported as float32, which has -1 / 512, but not its exponential.
    kept = torch.full((), -1 / MEMORY, dtype=sums.dtype, device=sums.device).exp()
    return kept * sums + term


def decayed(sums: Tensor, terms: Tensor) -> Tensor:
    """Sums [B, 3] before terms [B, T, 3] -> after each of them, [B, T, 3]."""
    t = torch.arange(terms.shape[1], device=terms.device, dtype=terms.dtype)
    age = t[:, None] - t
    weights = torch.exp(-age / MEMORY).masked_fill(age < 0, 0.0)
    kept = torch.exp(-(t + 1) / MEMORY)[:, None] * sums[:, None]
    return weights @ terms + kept


def features(v: View, sums: Tensor) -> Tensor:
    """What the network is told beside windows, [..., FEATURES] float32.

    Args:
        v: the windows' view.
        sums: [..., 3] decayed sums of 1, values and log scales.
    """
    weight, total, calm = torch.split(sums, 1, dim=-1)
    # Sums of values are exact to a few units in the last place of values, not of their scale.
    drift = (total / weight - v.loc) / torch.maximum(v.scale, 1e-9 * v.loc.abs())
    far = torch.cat([v.loc / v.scale, drift], dim=-1)
    far = far.sign() * torch.log1p(far.abs())
    calm = calm / weight - v.scale.log()
    ratio = (v.near / v.scale).log()
    told = [v.n / v.wide.shape[-1], 1 / v.n, ratio, far, calm]
    return torch.cat(told, dim=-1).float().clamp(-10, 10)
