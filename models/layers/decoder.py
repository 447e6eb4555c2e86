"""The decoder of Llama and Qwen2, token by token: all of it but who sees whom.

Letters: N tokens, W width, H heads of queries, K heads of keys and values, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.kernels.rope import rotate
from foretoken.models.generation import Keeping
from foretoken.models.layers.gqa import GroupedProjections
from foretoken.models.layers.rmsnorm import RMSNorm
from foretoken.models.layers.rope import expect_known
from foretoken.models.layers.swiglu import SwiGLU

__all__ = ["Attend", "DecoderBlock", "DecoderShape"]

# Queries [N, H, D], keys and values [N, K, D] -> what each query saw, [N, H, D].
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder.

    Args:
        vocab: how many tokens there are.
        width: W.
        layers: of them.
        heads: H.
        kv_heads: K, which divides H.
        head_width: D, even.
        mlp: hidden width of the gated MLP.
        eps: of the norms.
        theta: base of the position embedding's frequencies.
        scaling: of these; see ``rope.expect_known``.
        qkv_bias: whether queries, keys and values have one, as Qwen2's do.

    Raises:
        InvalidInput: a size is not positive, D is odd, or K does not divide H.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    mlp: int
    eps: float = 1e-6
    theta: float = 10000.0
    scaling: Mapping[str, Any] | None = None
    qkv_bias: bool = False

    def __post_init__(self) -> None:
        sizes = (self.vocab, self.width, self.layers, self.heads, self.kv_heads, self.mlp)
        even = self.head_width > 0 and self.head_width % 2 == 0
        if min(sizes) < 1 or self.heads % self.kv_heads or not even:
            raise InvalidInput(
                f"{self} is not a decoder: sizes must be positive, head_width even, and heads a "
                "multiple of kv_heads"
            )
        expect_known(self.scaling)


class DecoderBlock(nn.Module):
    """Attention and gated MLP, each normalised before and added after.

    Args:
        shape: of the decoder.
    """

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        self.shape = s = shape
        self.norm_attention = RMSNorm(s.width, s.eps)
        self.attention = GroupedProjections(
            s.width, s.heads, s.kv_heads, s.head_width, bias=s.qkv_bias
        )
        self.norm_mlp = RMSNorm(s.width, s.eps)
        self.mlp = SwiGLU(s.width, s.mlp)

    def forward(self, h: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """h [N, W], and its positions' ``rope.angles`` -> [N, W]."""
        q, k, v = self.attention.project(self.norm_attention(h))
        if isinstance(attend, Keeping):
            seen = attend.unturned(q, k, v, cos, sin)
        else:
            seen = attend(*rotate(q, k, cos, sin), v)
        h, normal = self.norm_mlp.added(h, self.attention.finish(seen))
        out: Tensor = h + self.mlp(normal)
        return out
