"""What a text encoder's version is made with: the network's shape, and how texts reach it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foretoken.errors import InvalidInput

__all__ = ["BertShape", "Texts"]


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


@dataclass(frozen=True)
class Texts:
    """How texts become tokens, and vectors what is answered.

    Args:
        max_tokens: longest input, special tokens included.
        width: of the vectors.
        dimensions: lengths to which vectors may be cut, ``width`` among them.
        prompts: texts to put in front of texts, by name.
        default_prompt: name of the one that is used where none is asked for.
        lowercase: whether texts are put in lower case before they reach the tokenizer.

    Raises:
        InvalidInput: if the values do not fit together.
    """

    max_tokens: int
    width: int
    dimensions: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    lowercase: bool = False

    def __post_init__(self) -> None:
        if self.default_prompt is not None and self.default_prompt not in self.prompts:
            raise InvalidInput(
                f"the default prompt {self.default_prompt!r} is none of {sorted(self.prompts)}"
            )
        if not all(1 <= d <= self.width for d in self.dimensions) or self.max_tokens < 1:
            raise InvalidInput(
                f"dimensions {self.dimensions} must lie between 1 and {self.width}, and max_tokens "
                f"{self.max_tokens} above 0"
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Texts:
        """From a version's configuration."""
        width = config["shape"]["width"]
        return cls(
            max_tokens=config["max_tokens"],
            width=width,
            dimensions=tuple(sorted({width, *config["dimensions"]}, reverse=True)),
            prompts=config["prompts"],
            default_prompt=config["default_prompt"],
            lowercase=config["lowercase"],
        )
