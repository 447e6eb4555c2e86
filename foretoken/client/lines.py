"""Streams that several sessions share, and which session is on which of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar

__all__ = ["Line", "Lines"]


class Line(Protocol):
    """A stream of a transport.

    Attributes:
        over: whether it has ended.
    """

    @property
    def over(self) -> bool: ...

    def cancel(self) -> None: ...


L = TypeVar("L", bound=Line)


class Lines(Generic[L]):
    """The stream that sessions share now, and earlier ones that some have not left yet.

    Args:
        make: opens a stream.
    """

    def __init__(self, make: Callable[[], L]) -> None:
        self.numbers = itertools.count(1)  # of sessions
        self._make = make
        self._lock = Lock()
        self._live: L | None = None
        self._members: dict[int, int] = {}  # sessions on a stream, by its identity

    def attach(self, current: L | None, *, fresh: bool) -> L:
        """The stream for a session that is on ``current``; ``fresh``: another one than that."""
        with self._lock:
            if current is not None and not fresh:
                return current
            if self._live is None or self._live is current or self._live.over:
                self._live = self._make()
            live = self._live
            self._joined(live)
            if current is not None and self._left(current):
                current.cancel()
            return live

    def join(self, line: L) -> None:
        """One session more is on a stream."""
        with self._lock:
            self._joined(line)

    def _joined(self, line: L) -> None:
        self._members[id(line)] = self._members.get(id(line), 0) + 1

    def leave(self, line: L) -> bool:
        """One session less; whether it was the last."""
        with self._lock:
            return self._left(line)

    def _left(self, line: L) -> bool:
        self._members[id(line)] -= 1
        if self._members[id(line)]:
            return False
        del self._members[id(line)]
        if line is self._live:
            self._live = None
        return True
