"""Priors over learning curves: the paper's, and a wider one for curves as they are measured.

Both draw whole batches by vectorised rejection on any device, from an explicit generator. Steps
are x = 1..100 and values lie in [0, 1], higher is better (see ``normalise``). The paper's prior
is Adriaensen et al. 2023, section 3 and appendix A; the wide prior keeps a share of it and is
otherwise described in ``wide.py``.

Letters: n curves, m candidates of one round, T = 100 steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.lcpfn import curves
from foretoken.models.lcpfn.wide import disturb, wide_clean, wide_noise

__all__ = ["STEPS", "Curves", "PriorName", "sample"]

STEPS = 100
CPU_CHUNK, GPU_CHUNK = 2048, 262_144  # curves at once: a CPU's cache, a GPU's width
PAPER_SHARE = 0.25  # of the wide prior: curves drawn from the paper's

PriorName = Literal["paper", "wide"]


class Curves(NamedTuple):
    """A draw from a prior: both fields [n, 100] float32."""

    clean: Tensor
    noisy: Tensor


def sample(
    n: int,
    *,
    prior: PriorName = "paper",
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Curves:
    """Draw n curves.

    Args:
        n: number of accepted curves.
        prior: "paper" (pow3 + ilog2 + Janoschek, Gaussian noise) or "wide".
        device: where the curves are made; a generator must live on the same device.
        generator: the only source of randomness; None uses torch's global one.

    Raises:
        InvalidInput: n is negative or the prior is unknown.
    """
    if n < 0:
        raise InvalidInput(f"n is {n}; the number of curves must be 0 or more")
    device = torch.device(device)
    draw = {"paper": _paper, "wide": _wide}.get(prior)
    if draw is None:
        raise InvalidInput(f"unknown prior {prior!r}; choose 'paper' or 'wide'")
    chunk = CPU_CHUNK if device.type == "cpu" else GPU_CHUNK
    sizes = [min(chunk, n - i) for i in range(0, n, chunk)] or [0]
    parts = [draw(size, device, generator) for size in sizes]
    return Curves(torch.cat([p.clean for p in parts]), torch.cat([p.noisy for p in parts]))


def _paper(n: int, device: torch.device, generator: torch.Generator | None) -> Curves:
    clean = _reject(n, device, lambda m: _paper_candidates(m, device, generator))
    sigma = torch.exp(torch.randn(n, 1, device=device, generator=generator) - 4.0)
    return Curves(clean, clean + sigma * torch.randn(n, STEPS, device=device, generator=generator))


def _wide(n: int, device: torch.device, generator: torch.Generator | None) -> Curves:
    paper = torch.rand(n, device=device, generator=generator) < PAPER_SHARE
    n_paper = int(paper.sum())
    clean = torch.empty(n, STEPS, device=device)
    noisy = torch.empty(n, STEPS, device=device)
    clean[paper], noisy[paper] = _paper(n_paper, device, generator)

    def candidates(m: int) -> Tensor:
        y = disturb(wide_clean(m, STEPS, device, generator), generator)
        return y[((y >= 0) & (y <= 1)).all(dim=1)]

    rest = _reject(n - n_paper, device, candidates)
    clean[~paper], noisy[~paper] = rest, rest + wide_noise(rest, generator)
    return Curves(clean, noisy)


def _reject(n: int, device: torch.device, candidates: Callable[[int], Tensor]) -> Tensor:
    """Collect n accepted curves; a round's size follows the acceptance rate seen so far."""
    parts: list[Tensor] = []
    have, tried = 0, 0
    while have < n:
        rate = max(have / tried, 0.02) if tried else 0.2
        m = int((n - have) / rate * 1.05) + 32
        part = candidates(m)
        parts.append(part)
        have, tried = have + len(part), tried + m
    return torch.cat(parts)[:n] if parts else torch.empty(0, STEPS, device=device)


def _paper_candidates(m: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Accepted curves [<= m, T] among m tries.

    A curve is refused if y_100 <= y_1 or any value leaves [0, 1]. Most are refused by a few steps
    already, so those are tried first and the full grid is computed for the survivors only.
    """
    u = torch.rand(m, 9, device=device, generator=generator)
    z = torch.randn(m, 3, device=device, generator=generator)
    x = torch.arange(1, STEPS + 1, device=device, dtype=torch.float32)
    for few in (x[[0, 1, 4, 19, 99]], x):
        y = _paper_curve(x=few, u=u, z=z)
        ok = (y[:, -1] > y[:, 0]) & ((y >= 0) & (y <= 1)).all(dim=1)
        u, z, y = u[ok], z[ok], y[ok]
    return y


def _paper_curve(x: Tensor, u: Tensor, z: Tensor) -> Tensor:
    """Σ wᵢ fᵢ(x) [m, len(x)] from uniforms u [m, 9] and normals z [m, 3]."""
    w_pow, w_log, w_jan, pow_a, pow_c, log_a, log_c, jan_a, jan_beta = u.T.unsqueeze(-1).unbind()
    alpha, k, delta = z.T.unsqueeze(-1).unbind()
    power = curves.pow3(x, a=1.2 * pow_a - 0.6, c=1.25 * pow_c, alpha=torch.exp(2 * alpha))
    logarithm = curves.ilog2(x, a=log_a - 0.5, c=log_c)
    k, delta = torch.exp(k - 2), torch.exp(0.5 * delta)
    growth = curves.janoschek(x, a=jan_a, beta=2 * jan_beta, k=k, delta=delta)
    return w_pow * power + w_log * logarithm + w_jan * growth
