"""The gate of Llama's MLP in plain torch: any dtype, float64 for tests.

Shazeer 2020. Letter: M hidden width.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import silu

__all__ = ["swiglu"]


def swiglu(gate: Tensor, up: Tensor | None = None) -> Tensor:
    """silu(gate) · up, where silu(x) = x / (1 + e^−x).

    Args:
        gate: [..., M]; with what is gated behind it, [..., 2 M], if ``up`` is None.
        up: [..., M].

    Returns:
        [..., M], in the dtype that torch gives the product.
    """
    if up is None:
        gate, up = gate.chunk(2, dim=-1)
    return silu(gate) * up
