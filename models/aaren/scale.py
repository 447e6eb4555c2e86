"""Running scale of a series: windows of the last values, normalised, in float64.

A value is seen relative to the mean of the last L values in units of their mean absolute deviation;
both follow the series, so that its units and drifts are nothing that a network has to know. Beside
the window there are decayed sums of all values and log scales before it, by which it knows whether
the present is unlike the past.

Letters: B series, T steps, L values of a window, R recent ones; ... is [B] or [B, T].
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
        loc: [...] float64, mean of the window.
        scale: [...] float64, above 0.
        inputs: [..., L + R] float32: the window, and its last R values on their own scale.
        ratios: [..., 2] float64: log of their scale over the window's; values over scale.
    """

    loc: Tensor
    scale: Tensor
    inputs: Tensor
    ratios: Tensor


def windows(window: Tensor, x: Tensor) -> Tensor:
    """The last L values at each step: window [B, L] before x [B, T] -> [B, T, L]."""
    L = window.shape[1]
    at = torch.arange(x.shape[1], device=x.device)[:, None] + torch.arange(
        1, L + 1, device=x.device
    )
    return torch.cat([window, x], dim=1)[:, at]


def view(last: Tensor, seen: Tensor) -> View:
    """Normalise windows.

    Args:
        last: [..., L] float64; the newest value is last, what lies before the first is 0.
        seen: [...] integers, values so far, at least 1.
    """
    L = last.shape[-1]
    n = seen.clamp(max=L)
    real = torch.arange(L, device=last.device) >= L - n[..., None]
    loc, spread, apart = _centred(last, real, n)
    floor = loc.abs() * 10.0 ** -n.clamp(max=FINEST).double()
    scale = torch.maximum(spread, floor).clamp(min=TINY)
    _, near, close = _centred(last[..., -RECENT:], real[..., -RECENT:], n.clamp(max=RECENT))
    near = torch.maximum(near, 1e-3 * scale)
    inputs = torch.cat([apart / scale[..., None], close / near[..., None]], dim=-1)
    ratios = torch.stack([(near / scale).log(), loc / scale], dim=-1)
    return View(loc, scale, inputs.clamp(-FARTHEST, FARTHEST).float(), ratios)


def _centred(values: Tensor, real: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, scale and deviations of what is real.

    Differences to the newest value are small numbers, however far all of them are from 0, and those
    of a constant window are 0 and nothing else.
    """
    newest, counts = values[..., -1:], real.to(values.dtype)  # a product is faster than a choice
    after = (values - newest) * counts
    mean = after.sum(-1) / n
    apart = (after - mean[..., None]) * counts
    return newest[..., 0] + mean, NORMAL * apart.abs().sum(-1) / n, apart


def added(sums: Tensor, term: Tensor) -> Tensor:
    """Decayed sums [B, 3] before a term [B, 3] -> after it."""
    kept = torch.full_like(sums[:, :1], -1 / MEMORY).exp()  # a bare number is exported as float32
    return kept * sums + term


def decayed(sums: Tensor, terms: Tensor) -> Tensor:
    """Sums [B, 3] before terms [B, T, 3] -> after each of them, [B, T, 3]."""
    t = torch.arange(terms.shape[1], device=terms.device, dtype=terms.dtype)
    age = t[:, None] - t
    weights = torch.exp(-age / MEMORY).masked_fill(age < 0, 0.0)
    kept = torch.exp(-(t + 1) / MEMORY)[:, None] * sums[:, None]
    return weights @ terms + kept


def features(v: View, seen: Tensor, sums: Tensor, L: int) -> Tensor:
    """What the network is told beside its inputs, [..., FEATURES] float32.

    Args:
        v: the windows' view.
        seen: [...] values so far, at least 1.
        sums: [..., 3] decayed sums of 1, values and log scales.
        L: values of a window.
    """
    n = seen.clamp(max=L).double()
    long = sums[..., 1:] / sums[..., :1]
    # Sums of values are exact to a few units in the last place of values, not of their scale.
    drift = (long[..., 0] - v.loc) / torch.maximum(v.scale, 1e-9 * v.loc.abs())
    calm = long[..., 1] - v.scale.log()
    ratio, level = v.ratios.unbind(-1)
    told = [n / L, 1 / n, ratio, _log(level), _log(drift), calm]
    return torch.stack(told, dim=-1).clamp(-10, 10).float()


def _log(x: Tensor) -> Tensor:
    return x.sign() * torch.log1p(x.abs())
