"""Contexts that one worker has open: their states mapped from the files that all workers share."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from foretoken.models.contract import Context
from foretoken.server.contexts import states
from foretoken.server.contexts.store import StoredContext

__all__ = ["Opened", "OpenedContexts"]


@dataclass
class Opened:
    """A context that can answer.

    Args:
        stored: as the catalogue had it,
        seen: when its state number was this one.
        context: mapped.
    """

    stored: StoredContext
    seen: int
    context: Context


class OpenedContexts:
    """What is open, within a budget; the least recently used goes first, except the last one.

    To let go is to forget: a mapping ends as garbage, once the last call on it is over.

    Args:
        budget: bytes of states, and of what preprocessing learned.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._nbytes = 0
        self._opened: OrderedDict[str, Opened] = OrderedDict()

    def __len__(self) -> int:
        return len(self._opened)

    @property
    def ids(self) -> list[str]:
        """Of what is open, the least recently used first."""
        return list(self._opened)

    def get(self, context: str) -> Opened | None:
        """What is open under that id; it counts as used."""
        found = self._opened.get(context)
        if found is not None:
            self._opened.move_to_end(context)
        return found

    def peek(self, context: str) -> Opened | None:
        """The same, not counting as used."""
        return self._opened.get(context)

    def put(self, opened: Opened) -> None:
        """Hold a context, in the place of one of that id."""
        context = opened.stored.record.id
        self.drop(context)
        self._opened[context] = opened
        self._nbytes += _size(opened)
        while self._nbytes > self._budget and len(self._opened) > 1:
            self.drop(next(iter(self._opened)))

    def drop(self, context: str) -> None:
        """Let go of a context, if it is open."""
        if (found := self._opened.pop(context, None)) is not None:
            self._nbytes -= _size(found)

    def clear(self) -> None:
        """Let go of all of them."""
        self._opened.clear()
        self._nbytes = 0


def _size(opened: Opened) -> int:
    context = opened.context
    return states.nbytes(context) + sum(a.nbytes for a in context.arrays.values())
