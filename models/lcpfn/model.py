"""LC-PFN: a transformer that reads a partial learning curve and answers with bar distributions.

Adriaensen et al. 2023, section 3: a point is the sum of a linear embedding of its step and one of
its value, without positional encoding; queries carry their step only. Steps run from 1 to 100 and
values lie in [0, 1], higher is better.

Letters: B curves, N observed points (padded), Q queries, T = N + Q tokens, W width, K bars.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from foretoken.errors import InvalidInput
from foretoken.models.layers.encoder import EncoderBlock
from foretoken.models.layers.official import renamed
from foretoken.models.lcpfn.attention import attend, biases

__all__ = ["LCPFN", "LCPFNConfig", "from_official"]

STEP_SCALE = 101.0  # steps are divided by it before standardisation
UNIFORM_STD = math.sqrt(1 / 12)  # of U(0, 1): both inputs are standardised as if uniform


@dataclass(frozen=True)
class LCPFNConfig:
    """The shape of a model.

    Args:
        width: W of the token stream, a multiple of heads.
        layers: encoder blocks.
        heads: attention heads.
        mlp: hidden width of each block's MLP and of the output head.
        bars: K.
        norm_first: pre-norm blocks with a final norm, or the paper's post-norm.
        frame: what values are scaled to before the model reads them; see ``frame.py``.

    Raises:
        InvalidInput: a size is not positive, bars < 2, or width is not a multiple of heads.
    """

    width: int = 512
    layers: int = 12
    heads: int = 4
    mlp: int = 1024
    bars: int = 1000
    norm_first: bool = False
    frame: Literal["bounds", "observed"] = "bounds"

    def __post_init__(self) -> None:
        sizes = (self.width, self.layers, self.heads, self.mlp, self.bars - 1)
        known = self.frame in ("bounds", "observed")
        if min(sizes) < 1 or self.width % self.heads or not known:
            raise InvalidInput(
                f"{self} is not a model: sizes must be positive, bars at least 2, "
                "width a multiple of heads, and frame 'bounds' or 'observed'"
            )


class LCPFN(nn.Module):
    """The network; ``borders`` [K + 1] are a buffer, so that weights and bars stay together."""

    borders: Tensor

    def __init__(self, config: LCPFNConfig, borders: Tensor | None = None) -> None:
        super().__init__()
        c = self.config = config
        self.embed_step = nn.Linear(1, c.width)
        self.embed_value = nn.Linear(1, c.width)
        self.blocks = nn.ModuleList(
            EncoderBlock(c.width, c.heads, c.mlp, norm_first=c.norm_first) for _ in range(c.layers)
        )
        self.final_norm = nn.LayerNorm(c.width) if c.norm_first else nn.Identity()
        self.head_in = nn.Linear(c.width, c.mlp)
        self.head_out = nn.Linear(c.mlp, c.bars)
        if borders is None:
            borders = torch.linspace(0, 1, c.bars + 1)
        if borders.shape != (c.bars + 1,):
            raise InvalidInput(
                f"borders have shape {tuple(borders.shape)}; {c.bars} bars need ({c.bars + 1},)"
            )
        self.register_buffer("borders", borders)

    def forward(self, steps: Tensor, values: Tensor, n: Tensor, at: Tensor) -> Tensor:
        """Bar logits at the queried steps.

        Args:
            steps: [B, N] observed steps, 1..100; what lies at and after n[b] is padding.
            values: [B, N] observed values, normalised; padding must be finite.
            n: [B] integers 0..N, the number of observed points of each row.
            at: [B, Q] queried steps.

        Returns:
            [B, Q, K] logits; a row depends on nothing but its own real points and query.
        """
        N, Q = steps.shape[1], at.shape[1]
        x = (torch.cat([steps, at], dim=1) / STEP_SCALE - 0.5) / UNIFORM_STD
        h = _embed(self.embed_step, x)  # [B, T, W]
        h = h + pad(_embed(self.embed_value, (values - 0.5) / UNIFORM_STD), (0, 0, 0, Q))
        keys, own = biases(n, N, Q, h.dtype)
        for block in cast("Iterable[EncoderBlock]", self.blocks):
            h = block.finish(h, attend(*block.project(h), keys, own))
        logits: Tensor = self.head_out(gelu(self.head_in(self.final_norm(h[:, N:]))))
        return logits


def _embed(linear: nn.Linear, x: Tensor) -> Tensor:
    """A linear map of scalars, [B, T] -> [B, T, W]; products, which autocast leaves in float32.

    In bfloat16 a value would be known to three digits only.
    """
    return x.unsqueeze(-1) * linear.weight[:, 0] + linear.bias


def from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of the authors' released state dict to ours.

    Args:
        state: names as in the release (``transformer_encoder.layers.0.self_attn...``).

    Raises:
        InvalidInput: a name is not part of that layout.
    """
    prefixes = {
        "encoder.2": "embed_step",
        "y_encoder.1": "embed_value",
        "decoder.0": "head_in",
        "decoder.2": "head_out",
        "criterion.borders": "borders",
    }
    # Smoothing is not used, and the widths follow from the borders.
    unused = ("criterion.smoothing", "criterion.bucket_widths")
    return renamed(state, prefixes, unused=unused, model="LC-PFN release")
