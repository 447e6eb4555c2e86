"""Problems whose answers take more steps the harder they are, made on the device that trains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from foretoken.errors import InvalidInput
from foretoken.models.cola.tasks.addition import Addition
from foretoken.models.cola.tasks.columns import NONE, Problems
from foretoken.models.cola.tasks.heldout import SHARE
from foretoken.models.cola.tasks.hops import Hops
from foretoken.models.cola.tasks.modular import Modular

__all__ = ["NONE", "Addition", "Hops", "Maker", "Modular", "Problems", "held_out_problems"]

ROUNDS = 64  # of drawing, before a kind is said to hold none out


class Maker(Protocol):
    """A kind of problem, with the range of its difficulty."""

    @property
    def length(self) -> int:
        """Tokens of the longest problem, prompt and answer."""

    def levels(self) -> Iterator[tuple[str, Maker]]:
        """Makers of problems of one difficulty each, by name."""

    def draw(self, n: int, L: int, generator: torch.Generator) -> Problems:
        """n problems, written in L tokens, at least ``length``."""


def held_out_problems(maker: Maker, n: int, L: int, generator: torch.Generator) -> Problems:
    """n problems that are never trained on; of few such problems, some come more than once.

    Raises:
        InvalidInput: hardly any, or none, is held out.
    """
    found: list[Problems] = []
    for _ in range(ROUNDS):
        drawn = maker.draw(2 * SHARE * n, L, generator)
        own = (drawn.held & drawn.answer).any(dim=1)
        found.append(Problems(drawn.ids[own], drawn.answer[own], drawn.held[own]))
        if sum(len(each.ids) for each in found) >= n:
            whole = (torch.cat([getattr(p, part) for p in found])[:n] for part in _PARTS)
            return Problems(*whole)
    raise InvalidInput(f"{maker} holds out too few problems to draw {n} of them")


_PARTS = ("ids", "answer", "held")
