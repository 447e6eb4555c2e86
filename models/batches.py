"""Batches of a training run, one after another; on a GPU the next is drawn beside the step.

Drawing consists of many small kernels that leave most of a GPU idle, and learning of large ones, so
there the next batch is drawn by a thread on a stream of its own. Either way batch after batch comes
from one generator in the order of steps, so that nothing but time depends on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

__all__ = ["Batches"]

STEPS = 2  # that a GPU may be behind the program: more would outlast a run that ends by the clock
Batch = tuple[Tensor, ...]
Draw = Callable[[torch.Generator, int], Batch]


class Batches:
    """The owner of a run's generator.

    Args:
        draw: makes the batch of a step from the generator alone.
        generator: on the device where batches are made.
        step: the first that a batch is asked for.
    """

    def __init__(self, draw: Draw, generator: torch.Generator, step: int = 0) -> None:
        self._draw, self._generator, self._step = draw, generator, step
        self._state = generator.get_state()
        self._ahead: _Ahead | None = None
        if generator.device.type == "cuda":
            self._ahead = _Ahead(self._drawn, generator.device)

    @property
    def state(self) -> Tensor:
        """Of the generator after the batch that was given last: a resumed run goes on from here."""
        return self._state

    def __next__(self) -> Batch:
        """The batch of the next step."""
        batch, self._state = self._ahead.take() if self._ahead else self._drawn()
        return batch

    def close(self) -> None:
        """Let go of what was drawn and not taken."""
        if self._ahead:
            self._ahead.close()

    def _drawn(self) -> tuple[Batch, Tensor]:
        batch = self._draw(self._generator, self._step)
        self._step += 1
        return batch, self._generator.get_state()


class _Ahead:
    """Draws one batch ahead, in a thread and on a stream that only it uses."""

    def __init__(self, drawn: Callable[[], tuple[Batch, Tensor]], device: torch.device) -> None:
        self._drawn, self._device = drawn, device
        stream: Any = torch.cuda.Stream
        self._stream = stream(device)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: Future[tuple[Batch, Tensor]] | None = None
        self._taken: deque[Any] = deque()

    def take(self) -> tuple[Batch, Tensor]:
        """The next batch, ready for the caller's stream."""
        self._keep_pace()
        batch, state = (self._next or self._thread.submit(self._on_stream)).result()
        here = torch.cuda.current_stream(self._device)
        here.wait_stream(self._stream)  # before more is put on it
        self._next = self._thread.submit(self._on_stream)
        for tensor in batch:
            if tensor.is_cuda:
                tensor.record_stream(here)
        return batch, state

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)

    def _keep_pace(self) -> None:
        """Wait until all that was put on the caller's stream some batches ago is done."""
        event: Any = torch.cuda.Event
        self._taken.append(event())
        self._taken[-1].record(torch.cuda.current_stream(self._device))
        if len(self._taken) > STEPS:
            self._taken.popleft().synchronize()

    def _on_stream(self) -> tuple[Batch, Tensor]:
        with torch.cuda.stream(self._stream):
            return self._drawn()
