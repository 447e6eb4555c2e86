"""The gated MLP of Llama and Qwen2 (Shazeer 2020)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import silu

__all__ = ["SwiGLU"]


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)), without biases; gate and up are one product.

    Args:
        width: of what it takes and gives.
        hidden: of the gate.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(silu(gate) * up)
        return out
