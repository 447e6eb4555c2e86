"""Versions that are loaded and ready to answer; the one owner of executables."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foretoken.errors import Unavailable, Unsupported
from foretoken.models.contract import Family, Predictor
from foretoken.server.engine.lane import Lane
from foretoken.server.registry.records import Version
from foretoken.server.runtimes.base import Executable

if TYPE_CHECKING:
    from foretoken.server.engine.generation.generator import Generator

__all__ = ["Loaded", "LoadedModels"]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A loaded version.

    Args:
        key: of its content and the options in force.
        version: which.
        family: what it is.
        predictor: request logic.
        executable: runs the graphs.
        lanes: where calls of each graph wait, by its name.
        bulk: where those of large requests wait, apart.
        config: of the model.
        generator: continues tokens, of a model whose layers are run.
    """

    key: str
    version: Version
    family: Family
    predictor: Predictor
    executable: Executable
    lanes: Mapping[str, Lane]
    bulk: Mapping[str, Lane] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    generator: Generator | None = None


class LoadedModels:
    """Loaded versions within a budget of bytes; the least recently used one goes first.

    It belongs to one event loop. Versions load side by side, each once. To drop one is to forget
    it: its executable is closed by nobody, since calls may still run on it, and is freed as garbage
    once the last of them is over.

    Args:
        budget: bytes of weights.
        dropped: is told of what is forgotten.
    """

    def __init__(self, budget: int, dropped: Callable[[Loaded], None] = lambda _: None) -> None:
        self._budget = budget
        self._dropped = dropped
        self._loads: OrderedDict[str, asyncio.Task[Loaded]] = OrderedDict()
        self._last: Loaded | None = None  # that was touched

    def held(self) -> list[Loaded]:
        """What is loaded now, the least recently used first."""
        return [task.result() for task in self._loads.values() if _succeeded(task)]

    @property
    def nbytes(self) -> int:
        """Bytes of what is loaded now."""
        return sum(loaded.executable.nbytes for loaded in self.held())

    def peek(self, key: str) -> Loaded | None:
        """What is loaded under ``key``, if it is; it counts as used."""
        task = self._loads.get(key)
        if task is None or not _succeeded(task):
            return None
        self._loads.move_to_end(key)
        self._last = None
        return task.result()

    async def get(self, key: str, size: int, load: Callable[[], Awaitable[Loaded]]) -> Loaded:
        """What is loaded under ``key``, by ``load`` when it is not there yet.

        A caller that is cancelled does not end a load, which others may be waiting for.

        Args:
            key: content and options of the version.
            size: bytes of its weights on disk.
            load: loads it.

        Raises:
            Unsupported: if it is larger than the whole budget.
            Unavailable: if it is dropped meanwhile.
            ForetokenError: as ``load`` does; the next call tries again.
        """
        if (held := self.peek(key)) is not None:
            return held
        task = self._loads.get(key)
        if task is None:
            if size > self._budget:
                raise Unsupported(
                    f"weights of {size} bytes are more than model_bytes, {self._budget}; serve it "
                    "where there is room, or set more"
                )
            task = asyncio.ensure_future(load())
            self._loads[key], self._last = task, None
            task.add_done_callback(lambda done: self._done(key, done))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable("the version was unloaded while it was loading") from None
            raise

    def drop(self, key: str) -> None:
        """Forget what is loaded under ``key``, if anything is."""
        task, self._last = self._loads.pop(key, None), None
        if task is None:
            return
        if _succeeded(task):
            self._dropped(task.result())
        else:
            task.cancel()

    def touch(self, loaded: Loaded) -> None:
        """Count a version as used now."""
        if loaded is not self._last and loaded.key in self._loads:
            self._loads.move_to_end(loaded.key)
            self._last = loaded

    def retire(self, loaded: Loaded) -> None:
        """Forget a version; calls that still run on it end undisturbed."""
        task = self._loads.get(loaded.key)
        if task is not None and _succeeded(task) and task.result() is loaded:
            self.drop(loaded.key)

    def clear(self) -> None:
        """Forget all of them."""
        for key in list(self._loads):
            self.drop(key)

    def _done(self, key: str, task: asyncio.Task[Loaded]) -> None:
        """Forget a failed load; make room for one that has succeeded."""
        if not _succeeded(task):
            if self._loads.get(key) is task:
                del self._loads[key]
            return
        for old in [k for k, t in self._loads.items() if k != key and _succeeded(t)]:
            if self.nbytes <= self._budget:
                break
            self.drop(old)


def _succeeded(task: asyncio.Task[Loaded]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
