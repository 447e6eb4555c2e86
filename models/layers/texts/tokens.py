"""Texts to tokens, cut to what the model reads.

Letters: n texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.contract import Array, Arrays, Config

__all__ = ["BYTES", "Encoded", "Tokens", "tokens_of"]

BYTES = 259  # tokens of ``ByteTokens``
_BEGIN, _END, _FIRST = 1, 2, 3
FILE = "tokenizer.json"
ALONE = 2048  # characters, of which all threads together would spare less than a millisecond


class Encoded(NamedTuple):
    """Tokens of texts.

    Args:
        ids: int64 [tokens] of each text, special tokens included.
        cut: int64 [n], tokens of each that were left out at its end.
    """

    ids: list[Array]
    cut: Array


class Tokens(Protocol):
    """A tokenizer; it may be used from several threads at once."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokens of texts that are valid Unicode."""


class ByteTokens:
    """UTF-8 bytes between a token for the beginning and one for the end.

    Args:
        limit: most tokens of a text.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def encode(self, texts: Sequence[str]) -> Encoded:
        """See ``Tokens.encode``."""
        ids, cut = [], []
        for text in texts:
            own = np.frombuffer(text.encode(), np.uint8).astype(np.int64) + _FIRST
            kept = own[: max(0, self._limit - 2)]
            ids.append(np.concatenate([[_BEGIN], kept, [_END]])[: self._limit])
            cut.append(len(own) - len(kept))
        return Encoded(ids, np.array(cut, np.int64))


class FileTokens:
    """What a tokenizer.json says; many texts are encoded on all cores, without Python's lock.

    Args:
        data: bytes of the file.
        limit: most tokens of a text, special tokens included.
        lowercase: put texts in lower case first.
    """

    def __init__(self, data: bytes, limit: int, *, lowercase: bool) -> None:
        # Imported here: only versions that bring a tokenizer need the package.
        from foretoken.models.layers.hf.tokenizer import ends, tokenizer_of  # noqa: PLC0415
        from foretoken.models.layers.hf.words import words_of  # noqa: PLC0415

        self._tokenizer = tokenizer_of(data, lowercase=lowercase)
        self._words = words_of(data, self._tokenizer)
        before, self._after = ends(self._tokenizer)
        special = self._tokenizer.encode("").ids
        self._special = special[:before], special[len(special) - self._after :]
        self._limit = limit
        if limit <= before + self._after:
            raise InvalidInput(
                f"the tokenizer adds {before + self._after} special tokens; max_tokens {limit} "
                "leaves no room for a text's own"
            )

    @property
    def largest(self) -> int:
        """The largest of all tokens."""
        return max(self._tokenizer.get_vocab().values())

    def encode(self, texts: Sequence[str]) -> Encoded:
        """See ``Tokens.encode``; special tokens at the end stay there when a text is cut."""
        ids, cut = [], np.zeros(len(texts), np.int64)
        for i, each in enumerate(self._whole(texts)):
            own = np.array(each, np.int64)
            if len(own) > self._limit:
                cut[i] = len(own) - self._limit
                kept = self._limit - self._after
                own = np.concatenate([own[:kept], own[len(own) - self._after :]])
            ids.append(own)
        return Encoded(ids, cut)

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        """All tokens of each text."""
        words, (before, after) = self._words, self._special
        found = [words.tokens(text) if words else None for text in texts]
        rest = [text for text, own in zip(texts, found, strict=True) if own is None]
        encoded = iter(self._encoded(rest))
        return [next(encoded) if own is None else [*before, *own, *after] for own in found]

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        # The package's threads have the priority of whoever was first to need them. A few texts are
        # encoded in the caller's thread, which may be the event loop's, and wait for none of them.
        if len(texts) == 1 or sum(map(len, texts)) <= ALONE:
            return [self._tokenizer.encode(text).ids for text in texts]
        return [each.ids for each in self._tokenizer.encode_batch_fast(texts)]


def tokens_of(config: Config, weights: Arrays) -> Tokens:
    """The tokenizer of a version.

    Args:
        config: of the version.
        weights: "tokenizer.json" among them, uint8 [bytes], unless the configuration says 0 bytes.

    Raises:
        DataLoss: if the tokenizer is not there.
        InvalidInput: if it cannot be read.
    """
    limit: int = config["max_tokens"]
    if not config["tokenizer"]:
        return ByteTokens(limit)
    if FILE not in weights:
        raise DataLoss(f"the weights lack {FILE!r}, without which texts cannot be read")
    return FileTokens(weights[FILE].tobytes(), limit, lowercase=config["lowercase"])
