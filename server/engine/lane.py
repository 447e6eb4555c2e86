"""A lane: the calls that wait for one graph of a loaded version, and which of them go together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from foretoken.errors import DeadlineExceeded, InvalidInput
from foretoken.models.contract import Array, Arrays, Graph
from foretoken.server.engine import batches
from foretoken.server.engine.batches import Extent
from foretoken.server.engine.cost import Cost

__all__ = ["Item", "Lane", "Limits", "Run"]

Run = Callable[[str, Arrays], Mapping[str, Array]]
CANDIDATES = 512  # waiting calls that are looked at for one batch


@dataclass(frozen=True)
class Limits:
    """What a lane keeps within.

    Args:
        batch_tokens: most tokens in one batch, after padding; a larger call goes alone.
        request_tokens: most tokens of one call.
        queue: most waiting calls of a model.
        wait: seconds that a call waits for company though there is a core to run it on.
        copied: most bytes of reads of a call that shares a batch with calls on other states. They
            are copied then, and all that is saved is to read the model's weights once more.
    """

    batch_tokens: int = 1024
    request_tokens: int = 1 << 16
    queue: int = 1024
    wait: float = 0.0
    copied: int = 1 << 20


@dataclass(eq=False, slots=True)
class Item:
    """A call that waits or runs: its inputs and reads, and where its outputs go."""

    inputs: Arrays
    state: tuple[int, ...]  # ids of the arrays among them that it reads, alive as long as these
    sizes: batches.Sizes
    extent: Extent
    tokens: int
    copied: int  # bytes of reads
    deadline: float
    arrived: float
    done: asyncio.Future[Arrays]
    queued: float = 0.0  # seconds, once it has begun to run
    compute: float = 0.0  # seconds of the batch that it ran in

    def succeed(self, outputs: Arrays) -> None:
        """Give the outputs to whoever still waits for them."""
        if not self.done.done():
            self.done.set_result(outputs)

    def fail(self, error: BaseException) -> None:
        """Give an error to whoever still waits."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(eq=False)
class Lane:
    """Calls of one graph of one loaded version.

    Args:
        model, version: whose graph it is.
        graph: that runs.
        run: the runtime's.
        limits: that it keeps within.
    """

    model: str
    version: int
    graph: Graph
    run: Run
    limits: Limits = Limits()
    cost: Cost = field(default_factory=Cost)
    waiting: dict[int, dict[Item, None]] = field(default_factory=dict)  # by priority, in order
    count: int = 0  # of waiting calls
    tokens: int = 0  # of waiting calls, without padding
    told: int = 0  # waiting calls that the observer has heard of

    def __post_init__(self) -> None:
        self._taken = (*self.graph.inputs, *self.graph.reads)
        self._reads = [tensor.name for tensor in self.graph.reads]

    def beside(self) -> Lane:
        """A lane of the same graph for calls that wait, and are paid for, apart."""
        return replace(self, cost=Cost(), waiting={}, count=0, tokens=0, told=0)

    def measure(self, inputs: Arrays) -> batches.Sizes:
        """Lengths of a call's letters.

        Raises:
            InvalidInput: if its arrays are not what the graph declares, or too large.
        """
        sizes = batches.sizes(self._taken, inputs)
        if (tokens := self.weigh(sizes)) > self.limits.request_tokens:
            raise InvalidInput(
                f"this request comes to {tokens} tokens; the server takes at most "
                f"{self.limits.request_tokens} at once: ask for less, or in parts"
            )
        return sizes

    def weigh(self, sizes: batches.Sizes) -> int:
        """Tokens of a call or batch: its rows, where those are what a graph works on."""
        if self.graph.rows is not None:
            return sizes[batches.BATCH] * sizes[self.graph.rows]
        return Extent.of(sizes).tokens

    def item(self, inputs: Arrays, deadline: float, done: asyncio.Future[Arrays]) -> Item:
        """A call on this lane; errors as for ``measure``."""
        sizes = self.measure(inputs)
        reads = [inputs[name] for name in self._reads]
        copied = sum([array.nbytes for array in reads])
        extent, tokens, state = Extent.of(sizes), self.weigh(sizes), tuple(map(id, reads))
        return Item(inputs, state, sizes, extent, tokens, copied, deadline, time.monotonic(), done)

    def add(self, item: Item, priority: int) -> None:
        """Let an item wait."""
        self.waiting.setdefault(priority, {})[item] = None
        self.count += 1
        self.tokens += item.tokens

    def remove(self, item: Item, priority: int) -> None:
        """Take an item out; nothing happens if it is not there."""
        queue = self.waiting.get(priority)
        if queue is None or queue.pop(item, self) is self:
            return
        if not queue:
            del self.waiting[priority]
        self.count -= 1
        self.tokens -= item.tokens

    def first(self) -> tuple[int, float] | None:
        """Rank of the most urgent waiting call: minus its priority, then when it arrived."""
        if not self.waiting:
            return None
        priority = max(self.waiting)
        return -priority, next(iter(self.waiting[priority])).arrived

    def take(self, now: float) -> list[Item]:
        """The next batch, taken out of the queue; calls that would end too late fail instead."""
        first: Item | None = None
        others: list[tuple[Item, int]] = []
        latest = now + self.cost.sure(self.tokens)  # when any of them alone would end
        for priority in sorted(self.waiting, reverse=True):
            for item in list(self.waiting[priority]):
                late = item.deadline <= latest
                if late and item.deadline <= now + self.cost.sure(item.tokens):
                    self.remove(item, priority)
                    item.fail(DeadlineExceeded("the call waited for too long"))
                elif first is None:
                    first = item
                    self.remove(item, priority)
                elif len(others) < CANDIDATES:
                    others.append((item, priority))
        if first is None:
            return []
        waiting = [item for item, _ in others]
        mine = self._on_same_state(first, waiting) or self._alike(first, waiting)
        for i in mine:
            self.remove(*others[i])
        return [first, *(waiting[i] for i in mine)]

    def along(self, items: Sequence[Item]) -> str:
        """The axis on which items of a batch are stacked: that of rows, if they read one state."""
        if self.graph.rows is None or any(items[0].state != item.state for item in items):
            return batches.BATCH
        return self.graph.rows

    def _on_same_state(self, first: Item, others: Sequence[Item]) -> list[int]:
        """Those, by index, that read the very arrays that ``first`` reads: none is copied."""
        if self.graph.rows is None:
            return []
        taken, tokens, state = [], first.tokens, first.state
        for i in [i for i, item in enumerate(others) if item.state == state]:
            if tokens + others[i].tokens <= self.limits.batch_tokens:
                taken.append(i)
                tokens += others[i].tokens
        return taken

    def _alike(self, first: Item, others: Sequence[Item]) -> list[int]:
        """Those, by index, that are of much the same size, if their states are worth copying."""
        if first.copied > self.limits.copied:
            return []
        light = [i for i, item in enumerate(others) if item.copied <= self.limits.copied]
        extents = [others[i].extent for i in light]
        chosen = batches.company(first.extent, extents, self.limits.batch_tokens)
        return [light[i] for i in chosen]
