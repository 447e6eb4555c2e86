"""Random columns of which series are made, one generator for all of them.

Letters: B series, N steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Draw", "unit"]


class Draw:
    """Columns [B, C] of random numbers from one generator.

    Args:
        B: series.
        N: steps.
        generator: where all numbers come from.
    """

    def __init__(self, B: int, N: int, generator: torch.Generator) -> None:
        self.B, self.N, self.generator, self.device = B, N, generator, generator.device

    @property
    def t(self) -> Tensor:
        """Steps [N], 0 first."""
        return torch.arange(self.N, device=self.device, dtype=torch.float32)

    def uniform(self, low: float = 0.0, high: float = 1.0, columns: int = 1) -> Tensor:
        u = torch.rand(self.B, columns, device=self.device, generator=self.generator)
        return low + (high - low) * u

    def normal(self, columns: int = 1) -> Tensor:
        return torch.randn(self.B, columns, device=self.device, generator=self.generator)

    def log_uniform(self, low: float, high: float, columns: int = 1) -> Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high), columns))

    def chance(self, p: float, columns: int = 1) -> Tensor:
        """True with probability p."""
        return self.uniform(columns=columns) < p

    def integers(self, n: int, columns: int = 1) -> Tensor:
        """0..n-1."""
        shape = (self.B, columns)
        return torch.randint(n, shape, device=self.device, generator=self.generator)

    def one_of(self, values: Tensor, columns: int = 1) -> Tensor:
        """Entries of ``values`` [n], equally likely."""
        return values.to(self.device)[self.integers(len(values), columns)]

    def student(self, columns: int) -> Tensor:
        """Heavy-tailed noise, Student's t; degrees of freedom from 2 to 12, one for each series."""
        half = self.log_uniform(2.0, 12.0) / 2
        # A χ² over its degrees of freedom, by the cube of Wilson and Hilferty (1931).
        c = 2 / (9 * 2 * half)
        chi = (1 - c + c.sqrt() * self.normal(columns)).clamp_min(0.05) ** 3
        return self.normal(columns) / chi.sqrt()

    def either(self, p: float, one: Tensor, other: Tensor) -> Tensor:
        """Rows of ``one`` with probability p, else of ``other``."""
        return torch.where(self.chance(p), one, other)


def unit(y: Tensor) -> Tensor:
    """Rows [B, N] moved to mean 0 and standard deviation 1; constant ones become 0."""
    y = y - y.mean(1, keepdim=True)
    return y / y.std(1, keepdim=True).clamp_min(1e-6)
