"""The gate of Llama's MLP: silu(gate) · up; see README.md."""

from __future__ import annotations

from torch import Tensor

from foretoken.kernels.served import by_kernel
from foretoken.kernels.swiglu import reference

__all__ = ["swiglu"]


def swiglu(gate: Tensor, up: Tensor | None = None) -> Tensor:
    """``reference.swiglu``, by the Triton kernel where there is a GPU and nobody wants gradients.

    Args:
        gate: [..., M]; with what is gated behind it, [..., 2 M], if ``up`` is None.
        up: [..., M].

    Returns:
        [..., M].
    """
    if not by_kernel(gate, gate if up is None else up):
        return reference.swiglu(gate, up)
    from foretoken.kernels.swiglu import triton  # noqa: PLC0415  (Linux only)

    return triton.swiglu(gate, up)
