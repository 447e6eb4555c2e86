"""The gated MLP of Llama and Qwen2 (Shazeer 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from foretoken.kernels.swiglu import swiglu

__all__ = ["SwiGLU"]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)), without biases.

    Args:
        width: of what it takes and gives.
        hidden: of the gate.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        out: Tensor = self.down(swiglu(self.gate(x), self.up(x)))
        return out
