"""Versions that are loaded and ready to answer; the one owner of executables."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from foretoken.models.contract import Family, Graph, Predictor
from foretoken.server.runtimes.base import Executable


@dataclass(frozen=True)
class Loaded:
    """A loaded version.

    Args:
        family: what it is.
        graphs: by name.
        predictor: request logic.
        executable: runs the graphs.
        batch_tokens: most tokens in one batch, after padding.
    """

    family: Family
    graphs: Mapping[str, Graph]
    predictor: Predictor
    executable: Executable
    batch_tokens: int


class LoadedModels:
    """At most ``limit`` loaded versions; the least recently used one goes first.

    Versions load side by side, each once. To drop one is to forget it: its executable is closed by
    nobody, since calls may still run on it, and is freed as garbage once the last of them is over.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._models: OrderedDict[str, Future[Loaded]] = OrderedDict()

    def get(self, key: str, load: Callable[[], Loaded]) -> Loaded:
        """What is loaded under ``key``, by ``load`` when it is not there yet.

        Raises:
            ForetokenError: as ``load`` does; the next call tries again.
        """
        with self._lock:
            found = self._models.get(key)
            mine: Future[Loaded] = found or Future()
            self._models[key] = mine
            self._models.move_to_end(key)
            while len(self._models) > self._limit:
                self._models.popitem(last=False)
        if found is None:
            try:
                mine.set_result(load())
            except BaseException as e:
                self._forget(key, mine)
                mine.set_exception(e)
        return mine.result()

    def drop(self, key: str) -> None:
        """Forget what is loaded under ``key``."""
        with self._lock:
            self._models.pop(key, None)

    def _forget(self, key: str, failed: Future[Loaded]) -> None:
        """Forget a failed load, unless it was dropped already and another stands in its place."""
        with self._lock:
            if self._models.get(key) is failed:
                del self._models[key]

    def close(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._models.clear()
