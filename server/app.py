"""Wiring: opens the registry and the plane that a process needs, and closes them in order."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foretoken.server.local import LocalPlane
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import Settings, load_settings


@contextmanager
def open_plane(settings: Settings) -> Iterator[LocalPlane]:
    """A plane over the data dir, with the bundled models registered."""
    with Registry.open(settings.data_dir) as registry:
        register_bundled(registry)
        with LocalPlane(registry, settings) as plane:
            yield plane


class _LocalPlanes:
    """The process-wide planes of in-process use, one for each settings, made on demand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planes: dict[Settings, LocalPlane] = {}

    def get(self, settings: Settings) -> LocalPlane:
        with self._lock:
            if settings not in self._planes:
                manager = open_plane(settings)
                self._planes[settings] = manager.__enter__()
                atexit.register(manager.__exit__, None, None, None)
            return self._planes[settings]


_LOCAL = _LocalPlanes()  # the one mutable thing that belongs to a module


def local_plane(settings: Settings | None = None) -> LocalPlane:
    """The plane that in-process use shares; opened on the first call with its settings."""
    found = settings or load_settings()
    return _LOCAL.get(found.model_copy(update={"data_dir": found.data_dir.absolute()}))
