"""Rotary position embedding (Su et al. 2021), plain or with Llama 3's scaling of frequencies.

``kernels.rope`` turns heads by the angles. Letters: D head width, N positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["angles", "expect_known", "frequencies"]

PLAIN, LLAMA3 = "default", "llama3"
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


def expect_known(scaling: Mapping[str, Any] | None) -> None:
    """Refuse a scaling other than none and Llama 3's.

    Args:
        scaling: as config.json says it, under "rope_scaling": its kind is "rope_type" or "type".

    Raises:
        InvalidInput: if it is of another kind, or lacks one of its numbers.
    """
    kind = _kind(scaling)
    if kind not in (PLAIN, LLAMA3):
        raise InvalidInput(
            f"position embeddings are scaled by {kind!r}; supported are {PLAIN!r} and {LLAMA3!r}"
        )
    if kind == LLAMA3 and scaling is not None:
        numbers = {name: scaling.get(name) for name in _LLAMA3}
        if wrong := [n for n, v in numbers.items() if not isinstance(v, (int, float)) or v <= 0]:
            raise InvalidInput(
                f"scaling {LLAMA3!r} of position embeddings needs positive {', '.join(_LLAMA3)}; "
                f"missing or wrong: {', '.join(wrong)}"
            )


def frequencies(width: int, theta: float, scaling: Mapping[str, Any] | None = None) -> Tensor:
    """Radians by which each pair of dimensions turns from one position to the next.

    Args:
        width: D, even.
        theta: base of the geometric series.
        scaling: see ``expect_known``.

    Returns:
        float32 [D / 2].

    Raises:
        InvalidInput: as ``expect_known``.
    """
    expect_known(scaling)
    plain = 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32) / width)
    if scaling is None or _kind(scaling) == PLAIN:
        return plain
    factor, low, high, known = (float(scaling[name]) for name in _LLAMA3)
    # Waves that fit into the length first trained on `high` times or more stay; those that fit
    # `low` times or less are stretched by the factor; between them it goes from one to the other.
    # Rounded as transformers rounds it: thousands of positions multiply the difference.
    share = ((known / (2 * math.pi / plain) - low) / (high - low)).clamp(0, 1)
    return (1 - share) * plain / factor + share * plain


def angles(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Positions [N] and frequencies [D / 2] -> cosines and sines, float32 [N, D / 2]."""
    turned = positions.to(torch.float32)[:, None] * frequencies
    return turned.cos(), turned.sin()


def _kind(scaling: Mapping[str, Any] | None) -> str:
    if scaling is None:
        return PLAIN
    return str(scaling.get("rope_type", scaling.get("type", PLAIN)))
