"""How long a call of a graph takes, learnt from those that have run."""

from __future__ import annotations

import math
import time

__all__ = ["Cost"]

FRESH = 10.0  # seconds for which what is known is reason enough to refuse a call
MEMORY = 0.97  # weight that a call keeps with each one after it


class Cost:
    """Seconds of a call by its tokens: a straight line, fitted to recent calls by least squares."""

    def __init__(self) -> None:
        self._learnt = -math.inf
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def learn(self, tokens: int, seconds: float) -> None:
        """Take note of a call."""
        self._learnt = time.monotonic()
        self._weight = self._weight * MEMORY + 1
        self._x = self._x * MEMORY + tokens
        self._y = self._y * MEMORY + seconds
        self._xx = self._xx * MEMORY + tokens * tokens
        self._xy = self._xy * MEMORY + tokens * seconds

    def expect(self, tokens: float) -> float:
        """Seconds that a call of so many tokens will take; 0 while nothing is known.

        Both ends of the line are kept from being negative: then it goes through the origin, or is
        flat.
        """
        if not self._weight:
            return 0.0
        x, y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - x * x
        if spread <= 1e-9 * x * x:
            return y * max(1.0, tokens / x)
        slope = max(0.0, (self._xy / self._weight - x * y) / spread)
        base = y - slope * x
        return base + slope * tokens if base >= 0 else y * tokens / x

    def sure(self, tokens: float) -> float:
        """Seconds as expected, if a call was noted lately, else 0: what is old refuses nobody."""
        return self.expect(tokens) if time.monotonic() - self._learnt < FRESH else 0.0
