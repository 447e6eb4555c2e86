"""A gated recurrent unit as a mixer: the classic recurrent network of the same width.

Letters: B sequences, T tokens (padded), W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foretoken.models.layers.mixers import State

__all__ = ["GRU"]


class GRU(nn.Module):
    """One layer of gated recurrent units (Cho et al. 2014), as torch computes them.

    The state is "h" [B, W] float32.

    Args:
        width: W, of what goes in, of the hidden state and of what comes out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.cell = nn.GRU(width, width, batch_first=True)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The hidden state."""
        return {"h": (self.width,)}

    def start(self, B: int) -> State:
        """Zeros for each of B sequences."""
        return {"h": torch.zeros(B, self.width, device=next(self.cell.parameters()).device)}

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, W] and the state -> [B, W] and the state after it."""
        w_ih, w_hh, b_ih, b_hh = self.cell.parameters()
        h = torch.gru_cell(x, state["h"].to(x.dtype), w_ih, w_hh, b_ih, b_hh)
        return h, {"h": h.float()}

    def scan(self, x: Tensor, length: Tensor, state: State) -> tuple[Tensor, State]:
        """x [B, T, W], of which ``length`` [B] int64 tokens are real -> [B, T, W] and the state."""
        before = state["h"]
        y, _ = self.cell(x, before[None].to(x.dtype))
        history = torch.cat([before[:, None], y.float()], dim=1)  # [B, T + 1, W]
        after = history[torch.arange(len(x), device=x.device), length]
        return y, {"h": after}

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, W] -> [B, T, W], from the start of each sequence."""
        y: Tensor = self.cell(x)[0]
        return y
