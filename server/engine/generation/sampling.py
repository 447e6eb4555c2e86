"""Tokens from logits: what is drawn depends on the request alone, whatever the batch.

Letters: B rows, V tokens of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor

from foretoken.models.generation import Sampling

__all__ = ["Drawn", "Row", "filtered", "sample", "uniform"]

DRAWN = 53  # bits of a uniform number


@dataclass(frozen=True)
class Row:
    """How a row is drawn.

    Args:
        sampling: with nothing left open.
        tokens: all before the one that is drawn.
        likeliest: how many of the likeliest tokens are told.
    """

    sampling: Sampling
    tokens: Sequence[int]
    likeliest: int = 0


@dataclass(frozen=True)
class Drawn:
    """A token, its log-softmax of the raw logits, and the likeliest tokens with theirs."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...] = ()


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on its arguments alone: a hash in counter mode."""
    counter = seed.to_bytes(8, "little") + position.to_bytes(8, "little")
    drawn = int.from_bytes(blake2b(counter, digest_size=8).digest(), "little")
    return (drawn >> (64 - DRAWN)) / (1 << DRAWN)


def sample(logits: Tensor, rows: Sequence[Row]) -> list[Drawn]:
    """Draw a token for each row.

    Args:
        logits: float32 [B, V].
        rows: how; B of them.
    """
    spread = logits.log_softmax(-1)
    scores = _penalised(logits, rows)
    chosen = scores.argmax(-1)
    warm = [i for i, row in enumerate(rows) if row.sampling.temperature]
    if warm:
        chosen[warm] = _drawn(scores[warm], [rows[i] for i in warm])
    logprobs = spread.gather(1, chosen[:, None])[:, 0].tolist()
    most = max(row.likeliest for row in rows)
    told = _told(spread, most) if most else [()] * len(rows)
    return [
        Drawn(token, logprob, one[: row.likeliest])
        for token, logprob, one, row in zip(chosen.tolist(), logprobs, told, rows, strict=True)
    ]


def filtered(scores: Tensor, settings: Sequence[Sampling]) -> Tensor:
    """Probabilities of what the filters leave, not normalised, float64 [B, V].

    Args:
        scores: logits [B, V], after the penalty.
        settings: B of them, with temperatures above 0.
    """
    V, device = scores.shape[1], scores.device

    def column(name: str) -> Tensor:
        values = [float(getattr(each, name)) for each in settings]
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    scores = scores.double()
    # Below the highest: of these, the lowest temperatures make no infinity but unlikely ones.
    below = scores - scores.amax(-1, keepdim=True)
    shares = (below / column("temperature")).softmax(-1)
    if any(each.top_k or each.top_p != 1 for each in settings):
        ordered, order = shares.sort(descending=True, stable=True)
        k = column("top_k")
        ordered = ordered * (torch.arange(V, device=device) < torch.where(k == 0, V, k))
        ordered = ordered / ordered.sum(-1, keepdim=True)
        # A token stays if those before it do not sum up to top_p yet.
        before = ordered.cumsum(-1) - ordered
        p = column("top_p")
        ordered = ordered * ((before < p) | (p == 1))
        shares = torch.zeros_like(shares).scatter(1, order, ordered)
    least = column("min_p") * shares.amax(-1, keepdim=True)
    return torch.where(shares < least, 0.0, shares)


def _penalised(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    penalties = [row.sampling.repetition_penalty for row in rows]
    if all(penalty == 1 for penalty in penalties):
        return logits
    scores = logits.clone()
    for score, row, penalty in zip(scores, rows, penalties, strict=True):
        if penalty != 1:
            seen = torch.tensor(list(set(row.tokens)), device=logits.device)
            own = score[seen]
            score[seen] = torch.where(own > 0, own / penalty, own * penalty)
    return scores


def _drawn(scores: Tensor, rows: Sequence[Row]) -> Tensor:
    """By the inverse of the distribution function, over tokens in the vocabulary's order."""
    upto = filtered(scores, [row.sampling for row in rows]).cumsum(-1)
    at = [uniform(row.sampling.seed, len(row.tokens)) for row in rows]
    place = torch.tensor(at, dtype=torch.float64, device=scores.device)[:, None] * upto[:, -1:]
    return torch.searchsorted(upto, place, right=True)[:, 0].clamp(max=scores.shape[1] - 1)


def _told(spread: Tensor, most: int) -> list[tuple[tuple[int, float], ...]]:
    values, ids = spread.topk(min(most, spread.shape[1]))
    return [
        tuple(zip(i, v, strict=True)) for i, v in zip(ids.tolist(), values.tolist(), strict=True)
    ]
