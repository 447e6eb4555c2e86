"""Sums of several numbers: ``17+58+9=`` asks for ``84``.

Letters: n problems, K operands at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.cola.tasks.columns import HOLE, Problems, constant, digits, written
from foretoken.models.cola.tasks.heldout import FEWEST, held_out
from foretoken.models.cola.vocabulary import BOS, EOS, token

__all__ = ["Addition"]

KIND = 1


@dataclass(frozen=True)
class Addition:
    """How hard sums are.

    Args:
        operands: fewest and most of a sum; at least 2, at most 9.
        digits: fewest and most that its operands may have; at most 4. Each is drawn below 10 to
            that power, so some have fewer.

    Raises:
        InvalidInput: these are out of range.
    """

    operands: tuple[int, int] = (2, 8)
    digits: tuple[int, int] = (1, 3)

    def __post_init__(self) -> None:
        if not (2 <= self.operands[0] <= self.operands[1] <= 9):
            raise InvalidInput(f"a sum has 2 to 9 operands, not {self.operands}")
        if not (1 <= self.digits[0] <= self.digits[1] <= 4):
            raise InvalidInput(f"operands have 1 to 4 digits, not {self.digits}")

    @property
    def length(self) -> int:
        """Tokens of the longest problem."""
        K, most = self.operands[1], self.digits[1]
        return 1 + K * (most + 1) + most + 1 + 1

    def levels(self) -> Iterator[tuple[str, Addition]]:
        """Sums of each difficulty alone, by name, unless there are few of them."""
        for D in range(self.digits[0], self.digits[1] + 1):
            for K in range(self.operands[0], self.operands[1] + 1):
                if 10 ** (D * K) < FEWEST:
                    continue
                yield f"add_{K}x{D}", replace(self, operands=(K, K), digits=(D, D))

    def draw(self, n: int, L: int, generator: torch.Generator) -> Problems:
        """n problems, written in L tokens."""
        device, K, most = generator.device, self.operands[1], self.digits[1]

        def drawn(low: int, high: int, *shape: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator, device=device)

        k = drawn(self.operands[0], K + 1, n, 1)
        x = drawn(0, 10**most, n, K) % 10 ** drawn(self.digits[0], most + 1, n, 1)
        used = torch.arange(K, device=device) < k
        x = torch.where(used, x, 0)
        held = held_out(KIND, torch.where(used, x, HOLE).sort(dim=1).values)
        signs = torch.where(torch.arange(K, device=device) < k - 1, token("+"), token("="))
        sums = digits(x.sum(1), most + 1)
        terms = torch.cat([digits(x, most), signs[..., None]], dim=2)
        terms = torch.where(used[..., None], terms, HOLE)
        answer = torch.cat([sums, constant(EOS, sums)], dim=1)
        return written([constant(BOS, sums), terms, answer], [answer], held, L)
