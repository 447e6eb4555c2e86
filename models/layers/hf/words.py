"""Tokens of plain texts by their words: BERT's tokenizers cut one word after the other.

A word is cut in the same way wherever it stands, so what it is cut to can be kept. Only texts of
which this is sure are answered here: ASCII without control characters, and without anything that
could be a special token written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from tokenizers import Tokenizer

__all__ = ["Words", "words_of"]

KEPT = 1 << 17  # words whose tokens are kept; then all are forgotten
LONGEST = 64  # characters of a word that is kept
# BERT cuts words at blanks, and puts each sign apart.
_WORD = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9\s]")
_ODD = r"[^\t\n\r -~]"  # not ASCII, or a control character
_CLEAN = {"clean_text": True, "lowercase": True}


class Words:
    """Tokens of texts, from those of their words; safe to use from several threads at once.

    Args:
        tokenizer: one that ``words_of`` accepts.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = (re.escape(t.content) for t in tokenizer.get_added_tokens_decoder().values())
        self._odd = re.compile("|".join((_ODD, *added)), re.IGNORECASE)
        self._known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int] | None:
        """The text's own tokens; None where the tokenizer has to be asked."""
        if self._odd.search(text):
            return None
        words = _WORD.findall(text.lower())
        known = self._known
        try:
            return [token for word in words for token in known[word]]
        except KeyError:
            return self._learnt(words)

    def _learnt(self, words: Sequence[str]) -> list[int]:
        """The same, of words some of which are new."""
        known = self._known
        # By itself, each: a few words must not wait for the tokenizer's own threads.
        found = {
            word: self._tokenizer.encode(word, add_special_tokens=False).ids
            for word in dict.fromkeys(words)
            if word not in known
        }
        short = {word: ids for word, ids in found.items() if len(word) <= LONGEST}
        if len(known) + len(short) <= KEPT:
            known.update(short)
        else:
            self._known = short
        return [t for word in words for t in (found[word] if word in found else known[word])]


def words_of(data: bytes, tokenizer: Tokenizer) -> Words | None:
    """Words for a tokenizer that cuts texts as BERT's uncased ones do, else None.

    Args:
        data: bytes of its tokenizer.json.
        tokenizer: made of it; whether it puts texts in lower case first changes nothing.
    """
    said = json.loads(data)
    normalizer, cutter = said.get("normalizer") or {}, said.get("pre_tokenizer") or {}
    alike = (
        normalizer.get("type") == "BertNormalizer"
        and all(normalizer.get(name) == value for name, value in _CLEAN.items())
        and cutter.get("type") == "BertPreTokenizer"
        and (said.get("model") or {}).get("type") == "WordPiece"
    )
    return Words(tokenizer) if alike else None
