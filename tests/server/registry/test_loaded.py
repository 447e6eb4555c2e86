"""Loaded versions: each loads once, the least recently used goes first, failures are retried."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from foretoken.errors import DataLoss
from foretoken.server.registry.loaded import LoadedModels


class Loader:
    """Counts its loads; a stand-in for what a runtime returns."""

    def __init__(self) -> None:
        self.loads = 0

    def __call__(self):
        self.loads += 1
        return object()


def test_a_version_loads_once():
    models, load = LoadedModels(2), Loader()
    assert models.get("a", load) is models.get("a", load)
    assert load.loads == 1


def test_many_threads_share_one_load():
    models, load, gate = LoadedModels(2), Loader(), threading.Barrier(8)

    def ask(_):
        gate.wait()
        return models.get("a", load)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(ask, range(8))))) == 1
    assert load.loads == 1


def test_a_slow_load_does_not_hold_up_another_version():
    models, started, release = LoadedModels(2), threading.Event(), threading.Event()

    def slow():
        started.set()
        assert release.wait(10)
        return object()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(models.get, "slow", slow)
        assert started.wait(10)
        models.get("quick", Loader())
        assert not waiting.done()
        release.set()
        waiting.result(10)


def test_the_least_recently_used_version_goes_first():
    models, load = LoadedModels(2), Loader()
    a, b = models.get("a", load), models.get("b", load)
    assert models.get("a", load) is a
    models.get("c", load)
    assert models.get("a", load) is a
    assert models.get("b", load) is not b


def test_a_failed_load_is_tried_again():
    models, load = LoadedModels(2), Loader()

    def broken():
        raise DataLoss("model.safetensors")

    with pytest.raises(DataLoss):
        models.get("a", broken)
    models.get("a", load)
    assert load.loads == 1


def test_a_failed_load_leaves_its_successor_alone():
    """It was dropped while loading, and another thread has loaded the version since."""
    models, load = LoadedModels(2), Loader()
    started, release = threading.Event(), threading.Event()

    def broken():
        started.set()
        assert release.wait(10)
        raise DataLoss("model.safetensors")

    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(models.get, "a", broken)
        assert started.wait(10)
        models.drop("a")
        loaded = models.get("a", load)
        release.set()
        with pytest.raises(DataLoss):
            failing.result(10)
    assert models.get("a", load) is loaded
    assert load.loads == 1


def test_what_is_dropped_is_freed_with_its_last_user():
    models = LoadedModels(1)

    class Version:
        pass

    used = models.get("a", Version)
    freed = weakref.ref(used)
    models.get("b", Version)
    assert freed() is used
    del used
    gc.collect()
    assert freed() is None
