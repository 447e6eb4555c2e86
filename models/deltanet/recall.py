"""Associative recall (MQAR): pairs of keys and values, then queries of the keys.

Arora et al. 2023, Zoology: Measuring and Improving Recall in Efficient Language Models, section 3
and appendix E.1. A sequence begins with P pairs, key and value in turn; then each key comes once
more, at positions whose gaps follow a power law, and after each the model should say its value.
Token 0 fills the other places. Keys are tokens 1 to V/2 - 1, values V/2 to V - 1; within a sequence
no key and no value comes twice.

Letters: B sequences, T tokens, P pairs, V tokens of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretoken.errors import InvalidInput

__all__ = ["NONE", "recall"]

NONE = -100  # the answer where nothing was asked; losses of torch ignore it
POWER = 0.01  # of gaps, as in the paper: p(gap) ~ gap^(POWER - 1)


def recall(
    B: int,
    T: int,
    pairs: int,
    vocab: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Sequences and what is right after each token.

    Args:
        B: sequences.
        T: tokens of each, at least 3 P.
        pairs: P, below V / 2.
        vocab: V, even.
        generator: that draws them, on the device where they are made.

    Returns:
        Tokens and answers, both int64 [B, T]; an answer is ``NONE`` where no key is asked for.

    Raises:
        InvalidInput: the pairs do not fit the sequence or the vocabulary.
    """
    room, half = T - 2 * pairs, vocab // 2
    if not (B >= 1 and 1 <= pairs < half and room >= pairs and vocab % 2 == 0):
        raise InvalidInput(
            f"{pairs} pairs do not fit {T} tokens of a vocabulary of {vocab}: the vocabulary must "
            f"be even and above {2 * pairs}, the sequence of {3 * pairs} tokens or more"
        )
    keys = 1 + _chosen(torch.ones(half - 1), B, pairs, generator)
    values = half + _chosen(torch.ones(half), B, pairs, generator)
    gaps = torch.arange(1.0, room + 1) ** (POWER - 1)
    asked = 2 * pairs + _shuffled(_chosen(gaps, B, pairs, generator), generator)
    tokens = torch.zeros(B, T, dtype=torch.long, device=generator.device)
    tokens[:, 0 : 2 * pairs : 2], tokens[:, 1 : 2 * pairs : 2] = keys, values
    tokens.scatter_(1, asked, keys)
    answers = torch.full_like(tokens, NONE).scatter_(1, asked, values)
    return tokens, answers


def _chosen(weights: Tensor, B: int, n: int, generator: torch.Generator) -> Tensor:
    """[B, n] distinct indices, drawn one after another in proportion to ``weights``."""
    rows = weights.to(generator.device).expand(B, -1)
    return torch.multinomial(rows, n, replacement=False, generator=generator)


def _shuffled(rows: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.rand(rows.shape, generator=generator, device=rows.device).argsort(1)
    return rows.gather(1, order)
