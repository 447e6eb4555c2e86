"""Matrices stored in int8, each row with a scale of its own, and widened again to be multiplied.

Letters: O rows, which are outputs of a linear layer or tokens of a table, I columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["in_rows", "widened"]

SCALE = ".scale"  # after a matrix's name, for that of its scales
MOST = 127  # symmetric: -128 is not used


def in_rows(name: str, matrix: Tensor) -> dict[str, Tensor]:
    """A matrix [O, I] in int8 under ``name``, and float32 scales [O]: largest |weight| / 127."""
    wide = matrix.float()
    scale = wide.abs().amax(dim=1) / MOST
    scale[scale == 0] = 1.0  # of a row of zeros, or of numbers with nothing left of them
    codes = (wide / scale[:, None]).round().clamp(-MOST, MOST).to(torch.int8)
    return {name: codes, name + SCALE: scale}


def widened(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name with each int8 matrix in float32, and without scales.

    Raises:
        InvalidInput: if an int8 tensor is no matrix, or has not one float32 scale for each row.
    """
    made = dict(stored)
    for name, codes in stored.items():
        if codes.dtype != torch.int8:
            continue
        scale = made.pop(name + SCALE, None)
        fits = codes.ndim == 2 and scale is not None and scale.shape == codes.shape[:1]
        if scale is None or not fits or scale.dtype != torch.float32:
            raise InvalidInput(
                f"{name} is in int8, which takes a matrix and {name + SCALE}, one float32 for each "
                "of its rows"
            )
        made[name] = codes.float() * scale[:, None]
    return made
