"""Linear layers in bfloat16 whose matrices lie as oneDNN reads them: no call reorders them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from foretoken.models.layers.linear_gelu import LinearGELU
from foretoken.models.layers.words import Words

__all__ = ["PackedLinear", "PackedWords", "pack"]

FUSED: Mapping[type, str] = {nn.Linear: "none", LinearGELU: "gelu"}  # oneDNN's name of what follows
LEAST = 64  # of both sides of a matrix: what is smaller is reordered in no time


class PackedLinear(nn.Linear):
    """A linear layer with its matrix twice: as it is, for who reads it, and packed.

    Args:
        linear: in bfloat16, on the CPU; its parameters are shared.
    """

    def __init__(self, linear: nn.Linear) -> None:
        # On no device: what is made here is replaced by the parameters of ``linear``.
        super().__init__(linear.in_features, linear.out_features, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self._then = FUSED[type(linear)]
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach())

    @property
    def nbytes(self) -> int:
        """Bytes of the packed matrix."""
        return self.weight.nbytes

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] of any floating dtype -> [..., out] bfloat16, as under autocast."""
        multiply = torch.ops.mkldnn._linear_pointwise
        made: Tensor = multiply(
            x.to(torch.bfloat16), self._packed, self.bias, self._then, [], "none"
        )
        return made


class PackedWords(Words):
    """A table of tokens that is the head, too: as it is, and packed.

    Args:
        words: in bfloat16, on the CPU; its parameter is shared.
    """

    def __init__(self, words: Words) -> None:
        super().__init__(words.num_embeddings, words.embedding_dim, device="meta")
        self.weight = words.weight
        head = nn.Linear(words.embedding_dim, words.num_embeddings, bias=False, device="meta")
        head.weight = words.weight
        self._head = PackedLinear(head)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed matrix."""
        return self.weight.nbytes

    def scores(self, h: Tensor) -> Tensor:
        """[..., W] -> [..., V] bfloat16."""
        scored: Tensor = self._head(h)
        return scored


def pack(module: nn.Module) -> int:
    """Pack the linear layers of a module on the CPU, where oneDNN multiplies in bfloat16.

    Args:
        module: whose linear layers, and tables of tokens, are in bfloat16; it is changed.

    Returns:
        Bytes that it takes more.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0
    more = 0
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            packed: PackedLinear | PackedWords
            if type(part) is Words and min(part.weight.shape) >= LEAST:
                packed = PackedWords(part)
            elif (
                type(part) in FUSED
                and isinstance(part, nn.Linear)
                and min(part.weight.shape) >= LEAST
            ):
                packed = PackedLinear(part)
            else:
                continue
            setattr(parent, name, packed)
            more += packed.nbytes
    return more
