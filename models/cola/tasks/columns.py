"""Many problems written at once: columns of tokens with holes, then closed up.

Letters: n problems, C columns, L tokens of a written problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from foretoken.models.cola.vocabulary import PAD, VOCABULARY, token

__all__ = ["HOLE", "NONE", "Problems", "constant", "digits", "written"]

HOLE = -1  # a column that a problem has not
NONE = -100  # the target where nothing is asked; losses of torch ignore it
ZERO = token("0")


@dataclass(frozen=True)
class Problems:
    """Prompts and answers.

    Args:
        ids: tokens, int64 [n, L]; each problem begins with BOS, and is padded after its end.
        answer: bool [n, L], which of them are answers; the end of an answer is part of it.
        held: bool [n, L], which of them belong to held-out problems.
    """

    ids: Tensor
    answer: Tensor
    held: Tensor

    def targets(self, *, held: bool) -> Tensor:
        """What should follow each token, int64 [n, L]: answers of held-out problems, or others'."""
        asked = self.answer & (self.held == held)
        after = torch.where(asked, self.ids, NONE)[:, 1:]
        return torch.cat([after, torch.full_like(self.ids[:, :1], NONE)], dim=1)

    def texts(self) -> list[tuple[str, str]]:
        """Prompt and answer of each, as they are read; of several answers the first."""
        found = []
        for ids, answer in zip(self.ids.tolist(), self.answer.tolist(), strict=True):
            begin = answer.index(True)
            found.append((VOCABULARY.decode(ids[:begin]), VOCABULARY.decode(ids[begin:])))
        return found


def digits(x: Tensor, width: int) -> Tensor:
    """Numbers int64 [...] -> the tokens of their digits [..., width], holes before the first."""
    powers = 10 ** torch.arange(width - 1, -1, -1, device=x.device)
    shown = (x[..., None] >= powers) | (powers == 1)
    return torch.where(shown, x[..., None] // powers % 10 + ZERO, HOLE)


def constant(value: int, like: Tensor) -> Tensor:
    """A column [n, 1] of one token."""
    return torch.full_like(like[:, :1], value)


def written(columns: Sequence[Tensor], answers: Sequence[Tensor], held: Tensor, L: int) -> Problems:
    """Problems without holes.

    Args:
        columns: of prompts and answers in order, each int64 [n, ...] with holes.
        answers: those among the columns that are answers.
        held: bool [n], which problems are held out, or [n, answers] by answer.
        L: that the longest problem has at most.
    """
    n = len(held)
    flat = [c.reshape(n, -1) for c in columns]
    which = [next((i for i, a in enumerate(answers) if a is c), None) for c in columns]
    asked = [torch.full_like(f, w is not None) for f, w in zip(flat, which, strict=True)]
    held = held.reshape(n, -1).expand(n, max(len(answers), 1))
    out = [
        torch.zeros_like(f) if w is None else held[:, w : w + 1].long().expand_as(f)
        for f, w in zip(flat, which, strict=True)
    ]
    ids = torch.cat(flat, dim=1)
    there = ids != HOLE
    # Whatever is a hole goes to a place behind the end.
    place = torch.where(there, there.cumsum(1) - 1, L).clamp(max=L)
    closed = [
        torch.full((n, L + 1), fill, dtype=torch.long, device=ids.device).scatter_(1, place, x)
        for fill, x in ((PAD, ids), (0, torch.cat(asked, dim=1)), (0, torch.cat(out, dim=1)))
    ]
    return Problems(closed[0][:, :L], closed[1][:, :L].bool(), closed[2][:, :L].bool())
