"""Parametric learning-curve forms, vectorised over curves and steps.

Every form takes steps x [T] (x >= 1) and parameters of shape [n, 1], and returns values [n, T].
Sources: Domhan et al. 2015, table 1 (pow3, pow4, ilog2, exp4, Janoschek, Weibull, MMF);
Adriaensen et al. 2023, appendix A.

Letters: n curves, T steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["exp4", "ilog2", "janoschek", "mmf", "pow3", "pow4", "weibull"]


def pow3(x: Tensor, a: Tensor, c: Tensor, alpha: Tensor) -> Tensor:
    """c − a·x^(−alpha), [n, T]."""
    return c - a * torch.exp(-alpha * x.log())


def pow4(x: Tensor, a: Tensor, b: Tensor, c: Tensor, alpha: Tensor) -> Tensor:
    """c − (a·x + b)^(−alpha), [n, T]; needs a·x + b > 0."""
    return c - torch.exp(-alpha * torch.log(a * x + b))


def ilog2(x: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """c − a / ln(x + 1), [n, T]."""
    return c - a / torch.log(x + 1)


def exp4(x: Tensor, a: Tensor, b: Tensor, c: Tensor, alpha: Tensor) -> Tensor:
    """c − exp(b − a·x^alpha), [n, T]."""
    return c - torch.exp(b - a * torch.exp(alpha * x.log()))


def janoschek(x: Tensor, a: Tensor, beta: Tensor, k: Tensor, delta: Tensor) -> Tensor:
    """a − (a − beta)·exp(−k·x^delta), [n, T]."""
    return a - (a - beta) * torch.exp(-k * torch.exp(delta * x.log()))


def weibull(x: Tensor, a: Tensor, beta: Tensor, kappa: Tensor, delta: Tensor) -> Tensor:
    """a − (a − beta)·exp(−(kappa·x)^delta), [n, T]; Janoschek with k = kappa^delta."""
    return a - (a - beta) * torch.exp(-torch.exp(delta * torch.log(kappa * x)))


def mmf(x: Tensor, a: Tensor, beta: Tensor, kappa: Tensor, delta: Tensor) -> Tensor:
    """Morgan-Mercer-Flodin: a − (a − beta) / (1 + (kappa·x)^delta), [n, T]."""
    return a - (a - beta) * torch.sigmoid(-delta * torch.log(kappa * x))
