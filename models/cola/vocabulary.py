"""The tokens of the problems that are made here: signs, digits and letters, one token each."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable

from foretoken.errors import InvalidInput

__all__ = ["BOS", "EOS", "PAD", "SIGNS", "SYMBOLS", "VOCABULARY", "Vocabulary", "token"]

PAD, BOS, EOS = 0, 1, 2
SIGNS = "+-*%=:,"
SYMBOLS = string.ascii_lowercase + string.ascii_uppercase
SPECIAL = ("<pad>", "<s>", "</s>")
_UNKNOWN = "<unk>"  # is no token, so what has none is refused
_PLAIN = ("single_word", "lstrip", "rstrip", "normalized")  # what special tokens are not


class Vocabulary:
    """Text to tokens and back."""

    def __init__(self) -> None:
        self.tokens = (*SPECIAL, *string.digits, *SIGNS, *SYMBOLS)
        self._ids = {text: i for i, text in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def id(self, character: str) -> int:
        """The token of one character.

        Raises:
            InvalidInput: if there is none.
        """
        found = self._ids.get(character) if len(character) == 1 else None
        if found is None:
            known = "".join(self.tokens[len(SPECIAL) :])
            raise InvalidInput(f"no token for {character!r}; there are those of {known}")
        return found

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, the one that begins every text included.

        Raises:
            InvalidInput: a character has no token.
        """
        return [BOS, *map(self.id, text)]

    def decode(self, ids: Iterable[int]) -> str:
        """Text up to the token that ends it; those that pad or begin a text say nothing."""
        text = []
        for i in ids:
            if i == EOS:
                break
            if i not in (PAD, BOS):
                text.append(self.tokens[i])
        return "".join(text)

    def tokenizer_json(self) -> bytes:
        """The same in the tokenizers package's format, for texts that are served."""
        special = [
            {"id": i, "content": text, "special": True, **dict.fromkeys(_PLAIN, False)}
            for i, text in enumerate(SPECIAL)
        ]
        begin = {"id": SPECIAL[BOS], "ids": [BOS], "tokens": [SPECIAL[BOS]]}
        one = [{"SpecialToken": {"id": SPECIAL[BOS], "type_id": 0}}]
        one.append({"Sequence": {"id": "A", "type_id": 0}})
        said = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": special,
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Split",
                "pattern": {"Regex": "."},
                "behavior": "Isolated",
                "invert": False,
            },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": one,
                "pair": [*one, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": {SPECIAL[BOS]: begin},
            },
            "decoder": {"type": "Fuse"},
            "model": {"type": "WordLevel", "vocab": self._ids, "unk_token": _UNKNOWN},
        }
        return json.dumps(said).encode()


VOCABULARY = Vocabulary()


def token(character: str) -> int:
    """The token of one character, which has one."""
    return VOCABULARY.id(character)
