"""What a text encoder's network is made with."""

from __future__ import annotations

from dataclasses import dataclass

from foretoken.errors import InvalidInput

__all__ = ["BertShape"]


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT.

    Args:
        vocab: how many tokens there are.
        width: W of the token stream, a multiple of heads.
        layers: encoder blocks.
        heads: attention heads.
        mlp: hidden width of each block's MLP.
        positions: rows of the table of positions.
        types: rows of the table of segments, of which the first is used.
        eps: of the norms.
        pad: RoBERTa's padding token: positions count the other tokens, from pad + 1 on, and it has
            itself position pad. None, as in BERT: positions count all tokens from 0.

    Raises:
        InvalidInput: a size is not positive, or width is not a multiple of heads.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    mlp: int
    positions: int
    types: int = 2
    eps: float = 1e-12
    pad: int | None = None

    def __post_init__(self) -> None:
        sizes = (self.vocab, self.width, self.layers, self.heads, self.mlp)
        if min(*sizes, self.positions, self.types) < 1 or self.width % self.heads:
            raise InvalidInput(
                f"{self} is not a BERT: sizes must be positive and width a multiple of heads"
            )

    @property
    def longest(self) -> int:
        """Tokens of the longest text that there are positions for."""
        return self.positions if self.pad is None else self.positions - self.pad - 1
