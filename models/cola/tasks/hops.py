"""Hops along pairs: ``ab,ca,bd,2c=`` asks for ``b``, what follows what follows c.

Each hop is one step of induction: find the pair that begins with the letter, take the other letter
(Sanford et al. 2024, Transformers, parallel computation, and logarithmic depth, on k-hop induction
heads). The pairs of a problem are one cycle in random order, so every letter of them comes once at
each end, and no hop leads back before all have been passed.

Letters: n problems, M pairs at most, Q questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.cola.tasks.columns import HOLE, ZERO, Problems, constant, written
from foretoken.models.cola.tasks.heldout import held_out
from foretoken.models.cola.vocabulary import BOS, EOS, SYMBOLS, token

__all__ = ["Hops"]

KIND = 3
FIRST, LETTERS = token(SYMBOLS[0]), len(SYMBOLS)


@dataclass(frozen=True)
class Hops:
    """How hard hops are.

    Args:
        hops: fewest and most of a question, at most 9; fewer than the problem has pairs.
        pairs: fewest and most of a problem; more than the fewest hops, at most 52.
        questions: on the same pairs, one after another; all but the first are to learn more from
            the same tokens.

    Raises:
        InvalidInput: these are out of range.
    """

    hops: tuple[int, int] = (1, 6)
    pairs: tuple[int, int] = (8, 16)
    questions: int = 1

    def __post_init__(self) -> None:
        if not (1 <= self.hops[0] <= self.hops[1] <= 9 and self.questions >= 1):
            raise InvalidInput(f"a question has 1 to 9 hops, not {self.hops}")
        M = self.pairs[1]
        if not (self.hops[0] < self.pairs[0] <= M <= LETTERS and self.hops[1] < M):
            raise InvalidInput(
                f"a problem has more pairs than hops, and at most {LETTERS}, not {self.pairs}"
            )

    @property
    def length(self) -> int:
        """Tokens of the longest problem."""
        return 1 + 3 * self.pairs[1] + 5 * self.questions

    def levels(self) -> Iterator[tuple[str, Hops]]:
        """One question of each number of hops alone, on the most pairs, by name."""
        M = self.pairs[1]
        for hops in range(self.hops[0], self.hops[1] + 1):
            yield f"hop_{hops}", replace(self, hops=(hops, hops), pairs=(M, M), questions=1)

    def draw(self, n: int, L: int, generator: torch.Generator) -> Problems:
        """n problems, written in L tokens."""
        device, M, Q = generator.device, self.pairs[1], self.questions

        def drawn(low: int, high: int, *shape: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator, device=device)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, generator=generator, device=device)

        m = drawn(self.pairs[0], M + 1, n, 1)
        cycle = uniform(n, LETTERS).argsort(dim=1)[:, :M]
        place = torch.arange(M, device=device).expand(n, M)
        used = place < m
        following = cycle.gather(1, (place + 1) % m)
        order = (uniform(n, M) + ~used).argsort(dim=1)  # those not used come last, as holes
        pairs = torch.stack([cycle, following, torch.zeros_like(cycle)], dim=2)
        pairs = pairs.gather(1, order[..., None].expand(n, M, 3)) + FIRST
        pairs[..., 2] = token(",")
        pairs = torch.where(used[..., None], pairs, HOLE)
        most = (m - 1).clamp(max=self.hops[1])
        # Few are likelier: more are learned only once these are.
        share = uniform(n, Q) ** 2 * (most - self.hops[0] + 1)
        hops = torch.minimum(self.hops[0] + share.long(), most)
        start = drawn(0, 1 << 40, n, Q) % m
        asked = torch.full((n, LETTERS), HOLE, device=device)
        own, theirs = (torch.where(used, x, x[:, :1]) for x in (cycle, following))
        asked.scatter_(1, own, theirs)
        first, last = (cycle.gather(1, at) for at in (start, (start + hops) % m))
        question = [asked[:, None].expand(n, Q, LETTERS), hops[..., None], first[..., None]]
        held = held_out(KIND, torch.cat(question, dim=2))
        columns, answers = [constant(BOS, m), pairs], []
        for q in range(Q):
            one = slice(q, q + 1)
            answers.append(torch.cat([last[:, one] + FIRST, constant(EOS, m)], dim=1))
            columns += [hops[:, one] + ZERO, first[:, one] + FIRST, constant(token("="), m)]
            columns.append(answers[-1])
        return written(columns, answers, held, L)
