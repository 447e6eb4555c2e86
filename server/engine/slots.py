"""States of many sequences side by side: arrays ``[slots, ...]`` whose rows are taken and freed.

Letters: N slots, B rows of a batch. A graph runs on any rows: they are gathered, run, and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from foretoken.errors import Overloaded
from foretoken.models.contract import Array, Arrays, Graph, Tensor

__all__ = ["SPARE", "Slots"]

SPARE = 0  # a row that belongs to nobody: it fills batches of a fixed shape


class Slots:
    """The states of one loaded version.

    It belongs to one event loop, but ``run`` may be called from a thread, for rows that nobody
    touches meanwhile. All memory is reserved at once and comes into being as it is first written,
    so that nothing is ever copied to grow.

    Args:
        tensors: that a state consists of, as graphs read them: "B" and then fixed lengths.
        start: the state before the first observation, each array [1, ...].
        most: slots that there may be.
        run: the runtime's.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        start: Arrays,
        most: int,
        run: Callable[[str, Arrays], Mapping[str, Array]],
    ) -> None:
        self._names = [tensor.name for tensor in tensors]
        self._run = run
        self._start = {name: np.ascontiguousarray(start[name]) for name in self._names}
        shapes = {name: (most + 1, *array.shape[1:]) for name, array in self._start.items()}
        self._rows = {n: np.empty(shape, self._start[n].dtype) for n, shape in shapes.items()}
        self._most = most
        self._free: list[int] = []
        self._fresh = SPARE + 1  # the first slot that has never been taken
        self._reset(SPARE)

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._fresh - 1 - len(self._free)

    @property
    def full(self) -> bool:
        """Whether none is left."""
        return self.taken >= self._most

    @property
    def nbytes(self) -> int:
        """Of one state; the same at every step."""
        return sum(array.nbytes for array in self._start.values())

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
        if state is None:
            self._reset(slot)
        else:
            self.write(slot, state)
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back; what it held is not kept."""
        self._free.append(slot)

    def read(self, slot: int) -> dict[str, Array]:
        """A copy of a state, each array [...]."""
        return {name: rows[slot].copy() for name, rows in self._rows.items()}

    def write(self, slot: int, state: Arrays) -> None:
        """Replace a state."""
        for name, rows in self._rows.items():
            rows[slot] = state[name]

    def run(self, graph: Graph, inputs: Arrays, slots: Sequence[int]) -> Mapping[str, Array]:
        """Run ``graph`` on the states of ``slots`` and replace them by what it writes.

        Args:
            graph: that reads and writes these states.
            inputs: of it, rows in the order of ``slots``.
            slots: [B], none twice but ``SPARE``.

        Returns:
            The graph's outputs; the states stay as they were if it fails.
        """
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

    def _reset(self, slot: int) -> None:
        for name, rows in self._rows.items():
            rows[slot] = self._start[name][0]
