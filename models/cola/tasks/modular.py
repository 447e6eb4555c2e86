"""Chains of operations modulo a prime, from left to right: ``%97:17+58*3-4=`` asks for ``27``.

Letters: n problems, K operations at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.cola.tasks.columns import HOLE, Problems, constant, digits, written
from foretoken.models.cola.tasks.heldout import FEWEST, held_out
from foretoken.models.cola.vocabulary import BOS, EOS, token

__all__ = ["Modular"]

KIND = 2
DIGITS = 3  # of a modulus, at most
PLUS = token("+")  # minus and times follow


@dataclass(frozen=True)
class Modular:
    """How hard chains of operations are.

    Args:
        operations: fewest and most of a chain; at most 9. Factors are 2 to 9.
        digits: fewest and most of the modulus; at most 3.

    Raises:
        InvalidInput: these are out of range.
    """

    operations: tuple[int, int] = (1, 6)
    digits: tuple[int, int] = (2, 3)

    def __post_init__(self) -> None:
        if not (1 <= self.operations[0] <= self.operations[1] <= 9):
            raise InvalidInput(f"a chain has 1 to 9 operations, not {self.operations}")
        if not (1 <= self.digits[0] <= self.digits[1] <= DIGITS):
            raise InvalidInput(f"a modulus has 1 to {DIGITS} digits, not {self.digits}")

    @property
    def length(self) -> int:
        """Tokens of the longest problem."""
        K, D = self.operations[1], self.digits[1]
        return 1 + 1 + D + 1 + D + K * (D + 1) + 1 + D + 1

    def levels(self) -> Iterator[tuple[str, Modular]]:
        """Chains of each difficulty alone, by name, unless there are few of them."""
        for D in range(self.digits[0], self.digits[1] + 1):
            for K in range(self.operations[0], self.operations[1] + 1):
                if _prime(D) ** (K + 1) < FEWEST:
                    continue
                yield f"mod{_prime(D)}_{K}", replace(self, operations=(K, K), digits=(D, D))

    def draw(self, n: int, L: int, generator: torch.Generator) -> Problems:
        """n problems, written in L tokens."""
        device, K, D = generator.device, self.operations[1], self.digits[1]

        def drawn(low: int, high: int, *shape: int) -> Tensor:
            return torch.randint(low, high, shape, generator=generator, device=device)

        m = _prime(drawn(self.digits[0], D + 1, n, 1))
        k, operation = drawn(self.operations[0], K + 1, n, 1), drawn(0, 3, n, K)
        numbers = drawn(0, 1 << 40, n, K + 1)
        start, by = numbers[:, :1] % m, numbers[:, 1:]
        by = torch.where(operation == 2, 2 + by % 8, by % m)
        used = torch.arange(K, device=device) < k
        asked = torch.cat([m, start, *(torch.where(used, x, HOLE) for x in (operation, by))], dim=1)
        result = digits(_results(start, operation, by, used, m), D)
        terms = torch.cat([operation[..., None] + PLUS, digits(by, D)], dim=2)
        terms = torch.where(used[..., None], terms, HOLE)
        answer = torch.cat([result, constant(EOS, result)], dim=1)
        begin = [constant(BOS, m), constant(token("%"), m), digits(m, D), constant(token(":"), m)]
        columns = [*begin, digits(start, D), terms, constant(token("="), m), answer]
        return written(columns, [answer], held_out(KIND, asked), L)


def _prime(digits: Any) -> Any:
    """Of so many digits, the largest: 7, 97 or 997."""
    return 10**digits - 3


def _results(start: Tensor, operation: Tensor, by: Tensor, used: Tensor, m: Tensor) -> Tensor:
    """Of the operations one after another, [n]."""
    value = start[:, 0]
    for i in range(by.shape[1]):
        x, which = by[:, i], operation[:, i]
        after = torch.where(which == 0, value + x, torch.where(which == 1, value - x, value * x))
        value = torch.where(used[:, i], after % m[:, 0], value)
    return value
