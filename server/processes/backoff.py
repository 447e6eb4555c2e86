"""How long to wait before what has failed is tried again."""

from __future__ import annotations

import time

__all__ = ["Backoff"]

FIRST = 0.5  # seconds, after the second failure in a row; the first is followed at once
LONGEST = 10.0
LASTED = 5.0  # seconds of life after which an end is not one in a row


class Backoff:
    """Doubles the wait with every failure in a row."""

    def __init__(self) -> None:
        self.failures = 0
        self.wait = 0.0
        self.due = 0.0  # by ``time.monotonic``

    def failed(self, lasted: float = 0.0) -> None:
        """Note a failure, of something that had gone well for so many seconds."""
        self.failures = 1 if lasted > LASTED else self.failures + 1
        self.wait = 0.0 if self.failures == 1 else min(LONGEST, FIRST * 2 ** (self.failures - 2))
        self.due = time.monotonic() + self.wait

    def over(self) -> bool:
        """Whether it may be tried again."""
        return time.monotonic() >= self.due
