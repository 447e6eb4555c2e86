"""A linear layer and GELU (Hendrycks & Gimpel 2016), one module so that a runtime can fuse them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

__all__ = ["LinearGELU"]


class LinearGELU(nn.Linear):
    """The exact GELU, by the error function, of a linear layer's output."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return gelu(super().forward(x))
