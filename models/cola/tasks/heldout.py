"""Which problems are never trained on: one in sixteen, by a hash of what they ask.

The hash is multilinear in 64 bits (Dietzfelbinger et al. 1997), then mixed as SplitMix64 does.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

__all__ = ["FEWEST", "SHARE", "held_out"]

SHARE = 16  # one problem of so many
FEWEST = 2000  # problems of a difficulty that is measured: of fewer, hardly any is held out
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 1 << 64


def held_out(kind: int, asked: Tensor) -> Tensor:
    """Whether problems are held out.

    Args:
        kind: of the problems: kinds hold out independently of each other.
        asked: int64 [..., C], what a problem asks, the same however it is written.

    Returns:
        bool [...].
    """
    h = ((asked + 2) * _factors(kind, asked.shape[-1], asked.device)).sum(-1)
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        h = (h ^ ((h >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
    return (h ^ ((h >> 31) & ((1 << 33) - 1))) % SHARE == 0


@cache  # or a GPU would wait for the host at every step
def _factors(kind: int, C: int, device: torch.device) -> Tensor:
    """Odd numbers of 64 bits, int64 [C]."""
    found = [_signed(_mixed((kind << 32) + i) | 1) for i in range(C)]
    return torch.tensor(found, device=device)


def _mixed(x: int) -> int:
    x = (x + 1) * _GOLDEN % _WORD
    x = (x ^ (x >> 30)) * _FIRST % _WORD
    x = (x ^ (x >> 27)) * _SECOND % _WORD
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    return x - _WORD if x >= _WORD // 2 else x
