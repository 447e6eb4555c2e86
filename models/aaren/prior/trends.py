"""Slow parts of synthetic series: trends, random walks, smooth Gaussian processes.

Letters: B series, N steps, K kinks, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from foretoken.models.aaren.prior.draws import Draw, unit

__all__ = ["coloured_ar", "filtered", "slow"]


def slow(d: Draw) -> Tensor:
    """One slow part for each series, [B, N], mean 0 and standard deviation 1."""
    forms = (_line, _bent, _saturating, _kinked, _walk, _smooth_walk, _process, _coloured)
    which = d.integers(len(forms))
    y = torch.zeros(d.B, d.N, device=d.device)
    for i, form in enumerate(forms):
        y = torch.where(which == i, form(d), y)
    return unit(y)


def _line(d: Draw) -> Tensor:
    return d.normal() * d.t


def _bent(d: Draw) -> Tensor:
    """A damped slope: Σ φ^t."""
    return d.normal() * (1 - torch.exp(-d.t / d.log_uniform(20, 2000)))


def _saturating(d: Draw) -> Tensor:
    middle, width = d.uniform(-0.2, 1.2) * d.N, d.log_uniform(5, d.N)
    return d.normal() * torch.sigmoid((d.t - middle) / width)


def _kinked(d: Draw) -> Tensor:
    """Piecewise linear, with kinks at random."""
    K = 6
    at, slopes = d.uniform(0, d.N, columns=K), d.normal(K)
    kept = d.uniform(columns=K) < d.uniform()
    hinges = (d.t - at[..., None]).clamp_min(0) * (slopes * kept)[..., None]
    return d.normal() * d.t + hinges.sum(1)


def _walk(d: Draw) -> Tensor:
    return d.either(0.5, d.normal(d.N), d.student(d.N)).cumsum(1)


def _smooth_walk(d: Draw) -> Tensor:
    """A damped local trend: an integrated AR(1)."""
    return coloured_ar(d.normal(d.N), d.uniform(0.8, 0.99)).cumsum(1)


def coloured_ar(noise: Tensor, phi: Tensor) -> Tensor:
    """AR(1) of ``noise`` [B, N] with phi [B, 1]."""
    return filtered(noise, lambda z: 1 / (1 - phi * z))


def filtered(noise: Tensor, gain: Callable[[Tensor], Tensor]) -> Tensor:
    """``noise`` [B, N] through a filter, given its gain at z^-1 = e^{-iω}.

    What it remembers for longer than N steps wraps around, and nothing else.
    """
    N = noise.shape[1]
    w = torch.linspace(0, math.pi, N + 1, device=noise.device)
    spectrum = torch.fft.rfft(noise, n=2 * N) * gain(torch.exp(-1j * w))
    out: Tensor = torch.fft.irfft(spectrum, n=2 * N)[:, :N]
    return out


def _process(d: Draw) -> Tensor:
    """A Gaussian process, RBF or heavier-tailed spectrum, by random Fourier features."""
    F = 24
    length = d.log_uniform(4, d.N)
    spectrum = d.normal(F) / d.either(0.5, torch.ones(1, device=d.device), _root(d, F))
    phase = d.uniform(0, 2 * math.pi, columns=F)
    waves = torch.cos(d.t[:, None] * (spectrum / length)[:, None] + phase[:, None])
    return waves.sum(-1)


def _root(d: Draw, F: int) -> Tensor:
    """√(χ²/3) of 3 degrees of freedom: frequencies of a Matérn-3/2 kernel are Student's t."""
    return ((d.normal(F) ** 2 + d.normal(F) ** 2 + d.normal(F) ** 2) / 3).sqrt().clamp_min(0.1)


def _coloured(d: Draw) -> Tensor:
    """Noise with a spectrum of 1 / f^β, twice as long as is kept."""
    noise = torch.randn(d.B, 2 * d.N, device=d.device, generator=d.generator)
    f = torch.arange(d.N + 1, device=d.device).clamp_min(1)
    spectrum = torch.fft.rfft(noise) * f ** (-d.uniform(0.3, 2.5) / 2)
    out: Tensor = torch.fft.irfft(spectrum, n=2 * d.N)[:, : d.N]
    return out
