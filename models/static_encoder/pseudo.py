"""Texts that nobody wrote: tokens drawn at random, a few topics to each text.

A teacher says of them what words do in company: which weigh little, and where pieces turn a word.
Frequent words are drawn by Zipf's law, from the order of the vocabulary, which has frequent tokens
first; words of a topic are those whose vectors are nearest to one word's.

Letters: V tokens, N texts, M tokens of all texts together, K words of a topic, E width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from foretoken.errors import InvalidInput

__all__ = ["Drawn", "Vocabulary", "draw", "vocabulary"]

LENGTHS = (3, 60)  # tokens of a text, uniform in their logarithm
TOPICS, NEAR = 2, 50  # of a text; words of a topic
SHARES = {"words": 0.3, "pieces": 0.2, "signs": 0.1, "characters": 0.06}  # the rest: topics
BROAD = 0.3  # exponent of Zipf's law for what a text is about
SHIFT = 10  # of Zipf's law (Mandelbrot 1953), so that the first word is not every fourth token
STARTS = 3  # words behind which a piece is looked for

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by what they are, int64 in the vocabulary's order; those no text has are in none.

    Args:
        words: of two characters or more, which may stand alone.
        pieces: what continues words.
        characters: single letters and digits.
        signs: without any letter or digit.
    """

    words: Ints
    pieces: Ints
    characters: Ints
    signs: Ints


@dataclass(frozen=True)
class Drawn:
    """Texts as tokens, int64 [M], without special ones, and how many each has, int64 [N]."""

    ids: Ints
    lengths: Ints


def vocabulary(tokenizer: Tokenizer, special: list[int]) -> Vocabulary:
    """What the tokens of a tokenizer are.

    Args:
        tokenizer: with a decoder, if tokens are written otherwise than texts have them.
        special: tokens that stand for no text.

    Raises:
        InvalidInput: if no token is a word.
    """
    known = sorted(set(range(tokenizer.get_vocab_size())) - set(special))
    alone = tokenizer.decode_batch([[i] for i in known])
    found = tokenizer.encode_batch(alone, add_special_tokens=False)
    kinds: dict[str, list[int]] = {n: [] for n in ("words", "pieces", "characters", "signs")}
    rest = []
    for i, text, encoded in zip(known, alone, found, strict=True):
        bare = text.strip()
        if encoded.ids != [i]:
            rest.append(i)
        elif not any(c.isalnum() for c in bare):
            kinds["signs"].append(i)
        else:
            kinds["words" if len(bare) > 1 else "characters"].append(i)
    if not kinds["words"]:
        raise InvalidInput("the teacher's tokenizer has no token that is a word")
    kinds["pieces"] = _pieces(tokenizer, rest, kinds["words"][:STARTS])
    return Vocabulary(**{n: np.array(ids, np.int64) for n, ids in kinds.items()})


def _pieces(tokenizer: Tokenizer, among: list[int], starts: list[int]) -> list[int]:
    """Those that follow one of the starts when the two are read as one text."""
    found: set[int] = set()
    for start in starts:
        texts = tokenizer.decode_batch([[start, i] for i in among])
        read = tokenizer.encode_batch(texts, add_special_tokens=False)
        found |= {i for i, encoded in zip(among, read, strict=True) if i in encoded.ids}
    return sorted(found)


def draw(tokens: Vocabulary, vectors: torch.Tensor, count: int, seed: int) -> Drawn:
    """N = ``count`` texts.

    Args:
        tokens: what there is to draw from.
        vectors: [V, E] of each token alone, whose cosines say what a topic is.
        count: N.
        seed: of the drawing.
    """
    rng = np.random.default_rng(seed)
    low, high = np.log(LENGTHS[0]), np.log(LENGTHS[1] + 1)
    lengths = np.exp(rng.uniform(low, high, count)).astype(np.int64)
    M = int(lengths.sum())
    near = _near(vectors[torch.from_numpy(tokens.words)])
    topics = _zipf(rng, len(tokens.words), BROAD, (count, TOPICS))
    topic = topics[np.repeat(np.arange(count), lengths), rng.integers(0, TOPICS, M)]
    ids = tokens.words[near[topic, rng.integers(0, near.shape[1], M)]]
    kind, below = rng.random(M), 0.0
    for name, share in SHARES.items():
        mine = (kind >= below) & (kind < below + share)
        below += share
        if len(few := getattr(tokens, name)):
            ids[mine] = few[_zipf(rng, len(few), 1.0, (int(mine.sum()),))]
    return Drawn(ids, lengths)


def _near(vectors: torch.Tensor) -> Ints:
    """The K words nearest to each word, itself among them."""
    unit = torch.nn.functional.normalize((vectors - vectors.mean(0)).float(), dim=1)
    K = min(NEAR, len(unit))
    found = [(part @ unit.T).topk(K, dim=1).indices for part in torch.split(unit, 1024)]
    return torch.cat(found).numpy()


def _zipf(
    rng: np.random.Generator, n: int, exponent: float, shape: tuple[int, ...]
) -> NDArray[np.intp]:
    """Places in a list of n, of probabilities as (place + SHIFT)^-exponent."""
    up = np.cumsum((np.arange(n) + SHIFT) ** -exponent)
    found: NDArray[np.intp] = np.minimum(np.searchsorted(up, rng.random(shape) * up[-1]), n - 1)
    return found
