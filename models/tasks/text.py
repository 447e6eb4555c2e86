"""Texts to embed."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from foretoken.arrays import expect_unicode
from foretoken.errors import InvalidInput, InvalidType
from foretoken.models.contract import Array

__all__ = ["TextReply", "TextRequest"]


@dataclass(frozen=True)
class TextRequest:
    """Texts to embed; ``dimensions`` cuts the vectors (Matryoshka), ``prompt`` precedes each text.

    Args:
        texts: at least one; empty ones are texts, too.
        dimensions: length of the vectors; the default is the model's own.
        prompt: text put before each of ``texts``.
        truncate: "end" cuts what is too long and reports it, "error" refuses it.
    """

    texts: tuple[str, ...]
    dimensions: int | None = None
    prompt: str | None = None
    truncate: str = "end"

    def __post_init__(self) -> None:
        if not self.texts:
            raise InvalidInput("texts must not be empty; give at least one")
        expect_unicode(self.texts)
        if self.prompt is not None:
            if not isinstance(self.prompt, str):
                raise InvalidType(f"the prompt is a str, not the {type(self.prompt).__name__}")
            expect_unicode((self.prompt,), "the prompt")
        d = 1 if self.dimensions is None else self.dimensions
        if isinstance(d, bool) or not isinstance(d, Integral):
            raise InvalidType(f"dimensions are an int, not the {type(d).__name__}")
        if d < 1:
            raise InvalidInput(f"dimensions must be 1 or more, not {self.dimensions}")
        if self.truncate not in ("end", "error"):
            raise InvalidInput(f"truncate is 'end' or 'error', not {self.truncate!r}")


@dataclass(frozen=True)
class TextReply:
    """Unit vectors, float32 [texts, dimensions], tokens used and tokens cut off, int64 [texts]."""

    vectors: Array
    tokens: Array
    cut: Array
