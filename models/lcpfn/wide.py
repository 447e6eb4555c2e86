"""The wide prior's pieces: clean shapes, disturbances and measurement noise.

Measured curves differ from the paper's prior in ways that this module draws directly: the first
evaluation may lie far below the second, improvement comes on several time scales or late (decayed
learning rates), there are plateaus, kinks, dips and divergence, and the noise is heavy-tailed,
correlated, and falls as training settles.

A clean curve is y = start + (end − start)·g(x), where g rises from 0 at x = 1 to 1 at x = T and is
a random convex combination of normalised parametric forms; start and end are drawn, so nearly
nothing has to be refused. No figure here was fitted to measured curves.

Letters: n curves, T steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretoken.models.lcpfn import curves

__all__ = ["disturb", "wide_clean", "wide_noise"]

CORRELATION_LENGTHS = (1.5, 5.0, 15.0)  # steps, of AR(1) noise


class _Draw:
    """Shorthand for columns [n, 1] of random numbers on one device from one generator."""

    def __init__(self, n: int, device: torch.device, generator: torch.Generator | None) -> None:
        self.n, self.device, self.generator = n, device, generator

    def uniform(self, low: float = 0.0, high: float = 1.0, columns: int = 1) -> Tensor:
        u = torch.rand(self.n, columns, device=self.device, generator=self.generator)
        return low + (high - low) * u

    def normal(self, mean: float = 0.0, std: float = 1.0, columns: int = 1) -> Tensor:
        z = torch.randn(self.n, columns, device=self.device, generator=self.generator)
        return mean + std * z

    def log_uniform(self, low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high)))

    def log_normal(self, mean: float, std: float) -> Tensor:
        return torch.exp(self.normal(mean, std))

    def chance(self, p: float) -> Tensor:
        """1.0 with probability p, else 0.0."""
        return (self.uniform() < p).float()


def wide_clean(
    n: int, steps: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Rising curves [n, T] between a drawn start and a drawn end, both within [0, 1]."""
    d = _Draw(n, device, generator)
    x = torch.arange(1, steps + 1, device=device, dtype=torch.float32)
    u, v = d.uniform(), d.uniform()
    # Starts crowd towards 0 (untrained) and 1/classes; ends lie above them, at any distance.
    start = torch.where(d.chance(0.5) > 0, 0.6 * u * u, u)
    gap = torch.where(d.chance(0.3) > 0, v**3, v)  # small gains are as common as large ones
    end = start + (1 - start) * gap
    fast = _shape(x, _Draw(n, device, generator))
    slow = _shape(x, _Draw(n, device, generator))
    # A convex combination of two time scales; the ends of the unit interval are one form alone.
    mix = torch.where(d.chance(0.5) > 0, d.uniform(), torch.ones_like(u))
    return start + (end - start) * (mix * fast + (1 - mix) * slow)


def _shape(x: Tensor, d: _Draw) -> Tensor:
    """One normalised form per curve, g(1) = 0 and g(T) = 1, [n, T]."""
    one, zero = x.new_ones(d.n, 1), x.new_zeros(d.n, 1)
    rate = d.log_uniform(0.008, 3.0)  # 1 / steps
    delta = d.log_normal(0.0, 0.5)
    forms = torch.empty(d.n, len(x), device=x.device)
    which = torch.randint(5, (d.n,), device=x.device, generator=d.generator)
    alpha = d.log_normal(-0.3, 0.9)
    for i in range(5):
        r = which == i
        o, z = one[r], zero[r]
        if i == 0:
            forms[r] = curves.pow3(x, a=o, c=o, alpha=alpha[r])
        elif i == 1:
            forms[r] = curves.pow4(x, a=rate[r], b=o, c=o, alpha=alpha[r])
        elif i == 2:
            forms[r] = curves.mmf(x, a=o, beta=z, kappa=rate[r], delta=1.5 * delta[r])
        elif i == 3:
            forms[r] = curves.weibull(x, a=o, beta=z, kappa=rate[r], delta=delta[r])
        else:
            forms[r] = curves.exp4(x, a=3 * rate[r], b=z, c=o, alpha=0.6 * delta[r])
    first, last = forms[:, :1], forms[:, -1:]
    return (forms - first) / (last - first).clamp_min(1e-6)


def disturb(y: Tensor, generator: torch.Generator | None) -> Tensor:
    """Add what smooth rising forms lack, each to a share of the curves; [n, T] -> [n, T]."""
    n, steps = y.shape
    d = _Draw(n, y.device, generator)
    x = torch.arange(1, steps + 1, device=y.device, dtype=torch.float32)
    t = (x - 1) / (steps - 1)
    room = 1 - y[:, -1:]
    span = (y[:, -1:] - y[:, :1]).clamp_min(0.02)

    # Late improvement as the learning rate decays: smooth, or a kink where it is cut.
    late = d.chance(0.4) * 0.6 * torch.minimum(room, span) * d.uniform() ** 2
    y = y + late * torch.exp(d.uniform(1.0, 6.0) * torch.log(t.clamp_min(1e-6)))
    cut = d.chance(0.15) * 0.6 * room * d.uniform() ** 2
    y = y + cut * (1 - torch.exp(-(x - d.uniform(5, 100)).clamp_min(0) / d.log_uniform(0.3, 20)))

    # The first evaluations far below the rest: little of the curve is left to see afterwards.
    drop = d.chance(0.3) * y[:, :1] * d.uniform()
    y = y - drop * torch.exp(-(x - 1) * d.log_uniform(0.3, 5.0))

    # A plateau: from some step on, nothing more happens.
    stop = torch.where(d.chance(0.08) > 0, d.uniform(10, 100), torch.full_like(room, steps))
    at = y.gather(1, (stop.long() - 1).clamp(0, steps - 1))
    y = torch.where(x > stop, at, y)

    # Dips that heal, overfitting that does not, and collapse.
    dip = d.chance(0.08) * span * d.uniform() ** 2
    y = y - dip * torch.exp(-0.5 * ((x - d.uniform(2, 100)) / d.log_uniform(0.4, 8)) ** 2)
    fall = d.chance(0.12) * span * d.uniform() ** 2
    y = y - fall * ((x - d.uniform(3, 95)) / steps).clamp_min(0) ** d.uniform(0.5, 2.0)
    gone = d.chance(0.02) * span * d.uniform()
    y = y - gone * torch.sigmoid((x - d.uniform(5, 100)) / d.log_uniform(0.2, 3))

    swing = d.chance(0.06) * 0.1 * span * d.uniform() * torch.exp(-d.uniform(0, 4) * t)
    return y + swing * torch.sin(2 * math.pi * (x / d.log_uniform(3, 60) + d.uniform()))


def wide_noise(clean: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise [n, T]: a scale per curve, falling over time, sometimes heavy or correlated."""
    n, steps = clean.shape
    d = _Draw(n, clean.device, generator)
    x = torch.arange(1, steps + 1, device=clean.device, dtype=torch.float32)
    sigma = d.log_normal(-5.0, 1.5).clamp_max(0.2)
    extra = d.chance(0.5) * d.log_uniform(0.5, 10.0)
    scale = sigma * (1 + extra * torch.exp(-(x - 1) / d.log_uniform(1.0, 40.0)))
    # Rates measured on finite samples are noisiest around one half and still near 0 and 1.
    binomial = d.chance(0.5)
    spread = 2 * torch.sqrt((clean * (1 - clean)).clamp_min(1e-6))
    scale = (scale * (binomial * spread + (1 - binomial))).clamp_max(0.25)

    z = d.normal(columns=steps)
    heavy = d.chance(0.25)
    outlier = (d.uniform(columns=steps) < 0.04).float() * heavy
    z = z * (1 + 4 * outlier)
    return scale * torch.where(d.chance(0.3) > 0, _correlated(z, generator), z)


def _correlated(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """White noise [n, T] to AR(1) noise of unit variance with one of three correlation lengths."""
    n, steps = z.shape
    lag = torch.arange(steps, device=z.device)
    lag = (lag[:, None] - lag[None, :]).abs()
    which = torch.randint(len(CORRELATION_LENGTHS), (n, 1), device=z.device, generator=generator)
    out = z
    for i, length in enumerate(CORRELATION_LENGTHS):
        root = torch.linalg.cholesky(torch.exp(-lag / length))
        out = torch.where(which == i, z @ root.T, out)
    return out
