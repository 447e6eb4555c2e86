"""The tokenizer of a Hugging Face folder: tokenizer.json, run by the tokenizers package."""

from __future__ import annotations

from tokenizers import Tokenizer, normalizers

from foretoken.errors import InvalidInput

__all__ = ["ends", "tokenizer_of"]

_PROBES = ("a", "1", ".", "字")  # a tokenizer that finds a token in none of them is of no use


def tokenizer_of(data: bytes, *, lowercase: bool = False) -> Tokenizer:
    """The tokenizer that tokenizer.json describes, without its own truncation and padding.

    Args:
        data: the file's bytes.
        lowercase: put texts in lower case before all else.

    Raises:
        InvalidInput: if the bytes describe none.
    """
    try:
        made = Tokenizer.from_buffer(data)
    except Exception as e:  # the package has no class of its own for what it cannot read
        raise InvalidInput(f"tokenizer.json cannot be read by the tokenizers package: {e}") from e
    made.no_truncation()
    made.no_padding()
    if lowercase:
        own = [] if made.normalizer is None else [made.normalizer]
        made.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return made


def ends(tokenizer: Tokenizer) -> tuple[int, int]:
    """How many special tokens stand before a text's own tokens, and how many after them.

    Raises:
        InvalidInput: if the tokenizer finds no tokens, or marks them as of several segments.
    """
    for probe in _PROBES:
        encoded = tokenizer.encode(probe)
        if any(encoded.type_ids):
            raise InvalidInput("tokenizer.json puts a single text into several segments")
        own = [i for i, sequence in enumerate(encoded.sequence_ids) if sequence is not None]
        if own:
            return own[0], len(encoded.ids) - 1 - own[-1]
    raise InvalidInput("tokenizer.json finds no tokens in letters, digits or signs")
