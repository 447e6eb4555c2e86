"""Random numbers for the prior: one generator on the device, one for shapes on the host."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """Where every random number of one call comes from.

    Tensors come from `generator`; whatever decides a shape or a grouping comes from `host`, which
    is seeded by one number of the generator, so that a GPU waits for the host once per call.
    """

    generator: torch.Generator
    device: torch.device
    host: np.random.Generator

    @classmethod
    def begin(cls, generator: torch.Generator, device: torch.device) -> Draws:
        """Seed the host's generator from the device's."""
        seed = torch.randint(2**62, (), generator=generator, device=device)
        return cls(generator, device, np.random.default_rng(int(seed)))

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        u = torch.rand(shape, generator=self.generator, device=self.device)
        return u if (low, high) == (0.0, 1.0) else u * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def chance(self, p: float | Tensor, *shape: int) -> Tensor:
        """True with probability p (broadcast against shape)."""
        return self.uniform(*shape) < p

    def alike(self, p: float, batch: int, n: int) -> Tensor:
        """Uniform numbers [batch, n, 1], the same for all n in a share p of the batch."""
        own = self.uniform(batch, n, 1)
        return torch.where(self.chance(p, batch, 1, 1), own[:, :1], own)

    def below(self, n: int, *shape: int) -> Tensor:
        """Integers in [0, n), int64."""
        return torch.randint(n, shape, generator=self.generator, device=self.device)

    def indices(self, where: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Tensor:
        """Indices chosen on the host, int64 on the device."""
        return torch.from_numpy(where).to(self.device)


def standardise(x: Tensor) -> Tensor:
    """Zero mean and unit variance along the last axis; a constant becomes zeros."""
    x = x - x.mean(-1, keepdim=True)
    return x / x.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)


def pick_rows(values: Tensor, index: Tensor) -> Tensor:
    """values [B, N, R] at index [B, ...] of its middle axis: [B, ..., R]."""
    b, n, r = values.shape
    offset = torch.arange(b, device=values.device).view(-1, *[1] * (index.ndim - 1)) * n
    return (
        values.reshape(b * n, r).index_select(0, (index + offset).flatten()).view(*index.shape, r)
    )
