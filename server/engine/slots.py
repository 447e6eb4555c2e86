"""States of many sequences side by side: arrays ``[slots, ...]`` whose rows are taken and freed.

Letters: N slots, B rows of a batch. A graph runs on any rows: they are gathered, run, and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from foretoken.errors import Overloaded
from foretoken.models.contract import Array, Arrays, Graph
from foretoken.server.runtimes.base import Rows

__all__ = ["SPARE", "HostRows", "Slots"]

SPARE = 0  # a row that belongs to nobody: it fills batches of a fixed shape


class HostRows:
    """See ``Rows``: arrays in memory, for runtimes that read and write there.

    All of it is reserved at once and comes into being as it is first written, so that nothing is
    ever copied to grow.

    Args:
        run: the runtime's.
        start: a state, each array [1, ...], of whose dtypes and shapes the rows are.
        count: N.
    """

    def __init__(
        self, run: Callable[[str, Arrays], Mapping[str, Array]], start: Arrays, count: int
    ) -> None:
        self._run = run
        self._rows = {n: np.empty((count, *a.shape[1:]), a.dtype) for n, a in start.items()}

    def read(self, slot: int) -> dict[str, Array]:
        """See ``Rows.read``."""
        return {name: rows[slot].copy() for name, rows in self._rows.items()}

    def write(self, slot: int, state: Arrays) -> None:
        """See ``Rows.write``."""
        for name, rows in self._rows.items():
            rows[slot] = state[name]

    def run(self, graph: Graph, inputs: Arrays, slots: Sequence[int]) -> Mapping[str, Array]:
        """See ``Rows.run``."""
        if len(slots) == 1:
            box: slice | Array = slice(slots[0], slots[0] + 1)  # a view: nothing is gathered
            states = {name: rows[box] for name, rows in self._rows.items()}
        else:
            box = np.array(slots)
            states = {name: rows.take(box, axis=0) for name, rows in self._rows.items()}
        made = self._run(graph.name, {**inputs, **states})
        for name, rows in self._rows.items():
            rows[box] = made[name]
        return made


class Slots:
    """The slots of one loaded version.

    It belongs to one event loop, but ``run`` may be called from a thread, for slots that nobody
    touches meanwhile.

    Args:
        rows: where the states are; one more than ``most``.
        start: the state before the first observation, each array [1, ...].
        most: slots that there may be.
    """

    def __init__(self, rows: Rows, start: Arrays, most: int) -> None:
        self._rows = rows
        self._start = {name: array[0] for name, array in start.items()}
        self._most = most
        self._free: list[int] = []
        self._fresh = SPARE + 1  # the first slot that has never been taken
        self.read, self.write, self.run = rows.read, rows.write, rows.run
        rows.write(SPARE, self._start)

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._fresh - 1 - len(self._free)

    @property
    def full(self) -> bool:
        """Whether none is left."""
        return self.taken >= self._most

    def take(self, state: Arrays | None = None) -> int:
        """A slot that holds ``state``, each array [...], or the one before the first observation.

        Raises:
            Overloaded: if none is left.
        """
        if self._free:
            slot = self._free.pop()
        elif self._fresh <= self._most:
            slot, self._fresh = self._fresh, self._fresh + 1
        else:
            raise Overloaded(f"all {self._most} slots of this model's states are in use")
        self._rows.write(slot, self._start if state is None else state)
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back; what it held is not kept."""
        self._free.append(slot)
