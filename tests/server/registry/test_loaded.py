"""Loaded versions: each loads once, the least recently used goes first, failures are retried."""

from __future__ import annotations

import asyncio
import gc
import weakref
from types import SimpleNamespace

import pytest

from foretoken.errors import DataLoss, Unavailable, Unsupported
from foretoken.server.registry.loaded import Loaded, LoadedModels
from tests.asynchronous import awaited


class Loader:
    """Counts its loads; makes stand-ins of so many bytes."""

    def __init__(self, nbytes=1) -> None:
        self.loads = 0
        self.nbytes = nbytes
        self.release = asyncio.Event()
        self.release.set()
        self.error: Exception | None = None

    def of(self, key):
        async def load():
            self.loads += 1
            await self.release.wait()
            if self.error is not None:
                raise self.error
            executable = SimpleNamespace(nbytes=self.nbytes)
            return Loaded(key, None, None, None, executable, {})

        return load


@awaited
async def test_a_version_loads_once():
    models, load = LoadedModels(2), Loader()
    first = await models.get("a", 1, load.of("a"))
    assert await models.get("a", 1, load.of("a")) is first
    assert load.loads == 1


@awaited
async def test_many_callers_share_one_load():
    models, load = LoadedModels(2), Loader()
    made = await asyncio.gather(*(models.get("a", 1, load.of("a")) for _ in range(8)))
    assert len(set(map(id, made))) == 1
    assert load.loads == 1


@awaited
async def test_a_slow_load_does_not_hold_up_another_version():
    models, slow = LoadedModels(2), Loader()
    slow.release.clear()
    waiting = asyncio.ensure_future(models.get("slow", 1, slow.of("slow")))
    await models.get("quick", 1, Loader().of("quick"))
    assert not waiting.done()
    slow.release.set()
    assert (await waiting).key == "slow"


@awaited
async def test_a_caller_that_gives_up_does_not_end_the_load():
    models, slow = LoadedModels(2), Loader()
    slow.release.clear()
    first, second = (asyncio.ensure_future(models.get("a", 1, slow.of("a"))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    slow.release.set()
    assert (await second).key == "a"
    assert slow.loads == 1


@awaited
async def test_the_least_recently_used_version_goes_first():
    dropped = []
    models, load = LoadedModels(2, dropped.append), Loader()
    a, b = [await models.get(key, 1, load.of(key)) for key in "ab"]
    models.touch(a)
    await models.get("c", 1, load.of("c"))
    assert dropped == [b]
    assert models.peek("a") is a
    assert models.peek("b") is None
    assert models.nbytes == 2


@awaited
async def test_what_is_larger_than_the_budget_is_refused_before_it_loads():
    models, load = LoadedModels(10), Loader()
    with pytest.raises(Unsupported, match="11 bytes are more than model_bytes, 10"):
        await models.get("a", 11, load.of("a"))
    assert load.loads == 0


@awaited
async def test_a_failed_load_is_tried_again():
    models, load = LoadedModels(2), Loader()
    load.error = DataLoss("model.safetensors")
    with pytest.raises(DataLoss):
        await models.get("a", 1, load.of("a"))
    load.error = None
    await models.get("a", 1, load.of("a"))
    assert load.loads == 2


@awaited
async def test_what_is_dropped_while_it_loads_is_unavailable():
    models, slow = LoadedModels(2), Loader()
    slow.release.clear()
    waiting = asyncio.ensure_future(models.get("a", 1, slow.of("a")))
    await asyncio.sleep(0)
    models.drop("a")
    with pytest.raises(Unavailable):
        await waiting
    assert models.held() == []


@awaited
async def test_what_is_dropped_is_freed_with_its_last_user():
    models, load = LoadedModels(1), Loader()
    used = await models.get("a", 1, load.of("a"))
    freed = weakref.ref(used)
    models.retire(used)
    await asyncio.sleep(0)
    assert freed() is used
    del used
    gc.collect()
    assert freed() is None
