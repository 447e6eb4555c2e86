"""What the engine and the plane tell of their work; metrics listen, and so may tests."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["SILENT", "Batch", "Lookup", "Observer", "Served", "Shed"]

Lookup = Literal["hit", "miss", "rebuilt"]  # of a context: there, not kept, or computed anew
Shed = Literal["queue", "deadline"]  # a full queue, or a deadline that cannot be met


class Batch(NamedTuple):
    """One call of a runtime, made of calls of one or many requests.

    Args:
        model: registered name.
        version: number.
        graph: that ran.
        rows: of the batch.
        tokens: without padding.
        padded: tokens with padding.
        queued: seconds that each of its calls waited.
        seconds: that the runtime took.
    """

    model: str
    version: int
    graph: str
    rows: int
    tokens: int
    padded: int
    queued: Sequence[float]
    seconds: float


class Served(NamedTuple):
    """One request that has left the plane, answered or not.

    Args:
        model: registered name.
        version: number.
        queue: seconds that its calls waited, those of one round counted once.
        compute: seconds in the runtime, counted likewise.
        seconds: from its arrival at the plane to its end.
        error: name of the error's class, or "" when answered.
    """

    model: str
    version: int
    queue: float
    compute: float
    seconds: float
    error: str


class Observer(Protocol):
    """Methods are called from the event loop and must return at once."""

    def batch(self, batch: Batch) -> None:
        """A batch has run."""

    def served(self, served: Served) -> None:
        """A request has ended."""

    def shed(self, model: str, why: Shed) -> None:
        """A request was refused before any of it waited."""

    def loaded(self, model: str, version: int, seconds: float, nbytes: int) -> None:
        """A version is loaded and warm."""

    def unloaded(self, model: str, version: int) -> None:
        """A version is no longer held."""

    def load_failed(self, model: str, version: int, error: BaseException) -> None:
        """A version could not be loaded; whatever served before goes on serving."""

    def waiting(self, model: str, change: int) -> None:
        """So many more calls wait for the model, or fewer."""

    def context(self, model: str, lookup: Lookup) -> None:
        """A request's training set was looked for among the contexts."""

    def contexts_evicted(self, count: int) -> None:
        """States of so many contexts were removed from the disk to make room."""

    def contexts_kept(self, count: int, table: int, state: int) -> None:
        """So many contexts are kept now, with so many bytes of training sets and of states."""

    def sessions(self, model: str, change: int, nbytes: int) -> None:
        """So many sessions of the model more, or less, have a slot now, of so many bytes each."""

    def pool(self, pool: Hashable, model: str, blocks: int) -> None:
        """A model has a pool of so many blocks of keys and values, all free; 0: no longer."""

    def blocks_free(self, pool: Hashable, blocks: int) -> None:
        """So many of a pool's blocks are free now."""

    def first_token(self, model: str, seconds: float, prompt: int, reused: int) -> None:
        """An answer has begun, so long after it was asked for.

        Args:
            model: that answers.
            seconds: since it was asked.
            prompt: its tokens.
            reused: those of them that were not computed.
        """

    def next_token(self, model: str, seconds: float) -> None:
        """An answer has another token, so long after the one before."""

    def preempted(self, model: str, count: int) -> None:
        """So many requests gave their blocks of keys and values back before they had ended."""


class _Silent:
    def batch(self, batch: Batch) -> None: ...
    def served(self, served: Served) -> None: ...
    def shed(self, model: str, why: Shed) -> None: ...
    def loaded(self, model: str, version: int, seconds: float, nbytes: int) -> None: ...
    def unloaded(self, model: str, version: int) -> None: ...
    def load_failed(self, model: str, version: int, error: BaseException) -> None: ...
    def waiting(self, model: str, change: int) -> None: ...
    def context(self, model: str, lookup: Lookup) -> None: ...
    def contexts_evicted(self, count: int) -> None: ...
    def contexts_kept(self, count: int, table: int, state: int) -> None: ...
    def sessions(self, model: str, change: int, nbytes: int) -> None: ...
    def pool(self, pool: Hashable, model: str, blocks: int) -> None: ...
    def blocks_free(self, pool: Hashable, blocks: int) -> None: ...
    def first_token(self, model: str, seconds: float, prompt: int, reused: int) -> None: ...
    def next_token(self, model: str, seconds: float) -> None: ...
    def preempted(self, model: str, count: int) -> None: ...


SILENT: Observer = _Silent()
