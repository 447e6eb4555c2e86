"""How texts become tokens, and vectors what is answered: the part of a version's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foretoken.errors import InvalidInput

__all__ = ["Texts"]


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
    def of(cls, config: Mapping[str, Any], width: int) -> Texts:
        """From a version's configuration, and the width of its vectors."""
        return cls(
            max_tokens=config["max_tokens"],
            width=width,
            dimensions=tuple(sorted({width, *config["dimensions"]}, reverse=True)),
            prompts=config["prompts"],
            default_prompt=config["default_prompt"],
            lowercase=config["lowercase"],
        )
