"""How a running plane follows the registry: moves, canaries, failures, owners, budget, draining."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unavailable,
    Unsupported,
)
from foretoken.models.artefact import Artefact
from foretoken.models.tasks import CurveRequest
from foretoken.server import loading
from foretoken.server import plane as plane_module
from foretoken.server.loading import load
from foretoken.server.plane import Plane
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from foretoken.server.terms import Caller, Scope, Terms
from tests.asynchronous import awaited

REQUEST = CurveRequest(
    np.array([0.1, 0.2, 0.3]), np.array([1.0, 2, 3]), np.array([9.0]), np.array([0.5])
)


class Heard:
    """An observer that remembers loads."""

    def __init__(self) -> None:
        self.events: list[tuple] = []

    def loaded(self, model, version, seconds, nbytes):
        self.events.append(("loaded", version))

    def unloaded(self, model, version):
        self.events.append(("unloaded", version))

    def load_failed(self, model, version, error):
        self.events.append(("failed", version, type(error).__name__))

    def served(self, served):
        self.events.append(("served", served.version, served.error))

    def batch(self, batch): ...
    def waiting(self, model, calls): ...
    def shed(self, model, why): ...
    def contexts_kept(self, count, table, state): ...
    def sessions(self, model, change, nbytes): ...
    def blocks(self, model, change): ...

    def of(self, kind):
        return [event[1:] for event in self.events if event[0] == kind]


@pytest.fixture
def registry(tmp_path, tiny_lcpfn):
    with Registry.open(tmp_path / "data") as registry:
        for _ in range(2):
            registry.register("curves", Artefact.read(tiny_lcpfn))
        yield registry


@asynccontextmanager
async def serving(registry, **settings):
    heard = Heard()
    plane = Plane(registry, load_settings(follow=0.02, **settings), heard)
    await plane.start()
    try:
        yield plane, heard
    finally:
        await plane.close()


async def answering(plane, model="curves", **terms):
    return (await plane.predict(model, [REQUEST], Terms(**terms))).version.number


async def slowed(plane, seconds):
    """Make the champion of ``curves`` slow, and known to be."""
    lane = (await plane.describe("curves")).lanes["forward"]
    quick = lane.run

    def slow(graph, inputs):
        time.sleep(seconds)
        return quick(graph, inputs)

    lane.run = slow
    for _ in range(200):
        lane.cost.learn(4, seconds)


async def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never happened")


@awaited
async def test_champions_are_loaded_and_warm_before_the_first_request(registry):
    async with serving(registry) as (plane, heard):
        assert [held.version.ref for held in plane.loaded] == ["curves:1"]
        assert heard.of("loaded") == [(1,)]
        assert await answering(plane) == 1


@awaited
async def test_an_alias_move_is_followed_and_the_old_version_let_go(registry):
    async with serving(registry) as (plane, heard):
        registry.set_alias("curves", "champion", 2)
        await until(lambda: heard.of("unloaded") == [(1,)])
        assert await answering(plane) == 2
        assert [held.version.number for held in plane.loaded] == [2]
        assert heard.events.index(("loaded", 2)) < heard.events.index(("unloaded", 1))


@awaited
async def test_no_request_fails_while_an_alias_moves_to_and_fro(registry):
    async with serving(registry) as (plane, heard):
        seen, stop = set(), asyncio.Event()

        async def ask():
            while not stop.is_set():
                seen.add(await answering(plane))

        asking = [asyncio.ensure_future(ask()) for _ in range(4)]
        await until(lambda: seen == {1})
        for turn in range(9):
            await asyncio.to_thread(registry.set_alias, "curves", "champion", 2 - turn % 2)
            await asyncio.sleep(0.1)
        await until(lambda: seen == {1, 2})  # the last move was to 2, however slow the others were
        stop.set()
        await asyncio.gather(*asking)
        assert {error for _, error in heard.of("served")} == {""}


@awaited
async def test_a_version_that_does_not_load_leaves_the_old_one_serving(registry, caplog):
    async with serving(registry) as (plane, heard):
        files = registry.artefact(registry.show("curves:2")).files
        path = files["forward.onnx"]
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(data[:-9] + b"corrupted")
        registry.set_alias("curves", "champion", 2)
        await until(lambda: "stays at" in caplog.text)
        assert heard.of("failed") == [(2, "DataLoss")]
        assert await answering(plane) == 1
        path.write_bytes(data)
        registry.set_alias("curves", "other", 1)  # any commit makes it look again
        await until(lambda: heard.of("unloaded") == [(1,)])
        assert await answering(plane) == 2


@pytest.mark.parametrize("error", [NotFound("no model family 'later'"), MemoryError("all of it")])
@awaited
async def test_however_a_version_fails_to_load_others_go_on(registry, monkeypatch, error):
    registry.set_alias("curves", "other", 1)
    async with serving(registry) as (plane, heard):
        assert await answering(plane, "other@curves") == 1

        def failing(registry, version, options, settings):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr("foretoken.server.plane.load", failing)
            registry.set_alias("curves", "champion", 2)
            await until(lambda: heard.of("failed") == [(2, type(error).__name__)])
            assert await answering(plane) == 1
        registry.set_alias("curves", "other", 2)  # and it still follows
        await until(lambda: [held.version.number for held in plane.loaded] == [2])
        assert await answering(plane) == await answering(plane, "other@curves") == 2


@awaited
async def test_a_start_outlives_a_model_that_fails_in_a_way_of_its_own(registry, monkeypatch):
    def failing(registry, version, options, settings):
        raise MemoryError("all of it")

    with monkeypatch.context() as patched:
        patched.setattr("foretoken.server.plane.load", failing)
        async with serving(registry) as (plane, _):
            assert plane.loaded == []
            patched.undo()
            assert await answering(plane) == 1


@pytest.mark.parametrize("ref", ["curves", "curves:2"])
@awaited
async def test_what_is_unloaded_while_it_loads_is_not_served(registry, monkeypatch, ref):
    async with serving(registry) as (plane, _):
        await plane.unload("curves")
        began, go_on = threading.Event(), threading.Event()

        def slowly(*given):
            began.set()
            assert go_on.wait(10)
            return load(*given)

        registry.set_served("curves", True)
        await plane.follow()
        monkeypatch.setattr("foretoken.server.plane.load", slowly)
        asked = asyncio.ensure_future(answering(plane, ref))
        await until(began.is_set)
        await plane.unload("curves")
        go_on.set()
        with pytest.raises(Unavailable, match="unloaded"):
            await asked
        with pytest.raises(Unavailable, match="unloaded"):
            await answering(plane, ref)


@awaited
async def test_a_version_that_loads_slowly_holds_nobody_else_up(registry, tiny_lcpfn, monkeypatch):
    registry.register("others", Artefact.read(tiny_lcpfn))
    registry.register("others", Artefact.read(tiny_lcpfn))
    began, release = threading.Event(), threading.Event()

    def slowly(registry, version, options, settings):
        if version.ref == "curves:2":
            began.set()
            assert release.wait(20)
        return loading.load(registry, version, options, settings)

    monkeypatch.setattr(plane_module, "load", slowly)
    async with serving(registry) as (plane, _):
        registry.set_alias("curves", "champion", 2)
        await until(began.is_set)
        registry.set_alias("others", "champion", 2)
        await asyncio.wait_for(plane.follow(), 5)
        assert await answering(plane, "others") == 2
        assert await answering(plane) == 1
        registry.set_alias("others", "champion", 1)
        release.set()
        await plane.follow(everything=True)
        assert await answering(plane) == 2
        assert await answering(plane, "others") == 1


@awaited
async def test_to_follow_waits_for_a_move_that_has_been_noticed_already(registry, monkeypatch):
    began, release = threading.Event(), threading.Event()

    def slowly(*given):
        began.set()
        assert release.wait(20)
        return load(*given)

    async with serving(registry) as (plane, _):
        monkeypatch.setattr("foretoken.server.plane.load", slowly)
        registry.set_alias("curves", "champion", 2)
        await until(began.is_set)  # by the plane's own follower
        following = asyncio.ensure_future(plane.follow())
        await asyncio.sleep(0.1)
        assert not following.done()
        release.set()
        await following
        assert await answering(plane) == 2


@awaited
async def test_a_canary_takes_its_share_by_key_and_by_request(registry):
    registry.set_alias("curves", "champion", 2, canary=30)
    async with serving(registry) as (plane, heard):
        assert {held.version.number for held in plane.loaded} == {1, 2}
        sides = [await answering(plane, key=str(i % 40)) for i in range(80)]
        assert sides[:40] == sides[40:]
        assert 3 <= sides[:40].count(2) <= 21
        assert {await answering(plane, request_id=f"r{i}") for i in range(40)} == {1, 2}
        assert {await answering(plane) for _ in range(5)} == {1}
        assert heard.of("failed") == []


@awaited
async def test_an_unloaded_model_is_unavailable_until_it_is_loaded_again(registry):
    async with serving(registry) as (plane, _):
        await plane.unload("curves")
        assert plane.loaded == []
        for ref in ("curves", "curves:1", "champion@curves"):
            with pytest.raises(Unavailable, match="unloaded"):
                await answering(plane, ref)
        assert not await plane.ready("curves")
        assert (await plane.load("curves")).number == 1
        assert await answering(plane) == 1
        assert await plane.ready("curves")


@awaited
async def test_to_ask_whether_a_model_is_ready_need_not_load_it(registry):
    async with serving(registry) as (plane, heard):
        nobody = Terms(caller=Caller("nobody", frozenset()))
        assert await plane.ready("curves:2", nobody, load=False)
        assert heard.of("loaded") == [(1,)]
        path = registry.artefact(registry.show("curves:2")).files["forward.onnx"]
        path.chmod(0o644)
        path.write_bytes(b"corrupted")
        assert not await plane.ready("curves:2")
        assert not await plane.ready("curves:2", nobody, load=False)
        assert await plane.ready("curves", nobody, load=False)
        with pytest.raises(NotFound):
            await plane.ready("curves:3", nobody, load=False)


@awaited
async def test_unloading_by_another_process_is_followed(registry):
    async with serving(registry) as (plane, _):
        registry.set_served("curves", False)
        await until(lambda: not plane.loaded)
        with pytest.raises(Unavailable):
            await answering(plane)


@awaited
async def test_administration_needs_the_scope(registry):
    clerk = Terms(caller=Caller("clerk", frozenset({Scope.PREDICT})))
    async with serving(registry) as (plane, _):
        for act in (plane.load, plane.unload):
            with pytest.raises(PermissionDenied, match="'admin'"):
                await act("curves", clerk)
        nobody = Caller("nobody", frozenset())
        with pytest.raises(PermissionDenied, match="'predict'"):
            await answering(plane, caller=nobody)


@awaited
async def test_a_tenants_model_is_not_there_for_others(registry, tiny_lcpfn):
    registry.register("private", Artefact.read(tiny_lcpfn), owner="acme")
    both = frozenset(Scope)
    async with serving(registry) as (plane, _):
        assert await answering(plane, "private", caller=Caller("a", both, "acme")) == 1
        stranger = Caller("b", both, "evil")
        for ref in ("private", "private:1", "champion@private"):
            with pytest.raises(NotFound) as hidden:
                await answering(plane, ref, caller=stranger)
            with pytest.raises(NotFound) as missing:
                await answering(plane, ref.replace("private", "absent"), caller=stranger)
            assert str(hidden.value) == str(missing.value).replace("absent", "private")
        for act in (plane.load, plane.unload):
            with pytest.raises(NotFound):
                await act("private", Terms(caller=stranger))
        assert await answering(plane, "private") == 1  # the process's own user


@awaited
async def test_what_is_deleted_is_gone_for_servers_too(registry):
    registry.set_alias("curves", "old", 2)
    async with serving(registry) as (plane, _):
        assert await answering(plane, "old@curves") == 2
        assert await answering(plane, "curves:2") == 2
        registry.delete_alias("curves", "old")
        registry.delete("curves:2")
        await plane.follow(everything=True)
        for ref in ("old@curves", "curves:2"):
            with pytest.raises(NotFound):
                await answering(plane, ref)


@awaited
async def test_options_that_change_are_followed(registry):
    async with serving(registry) as (plane, _):
        registry.set_options("curves", ServingOptions(batch_tokens=33))
        await plane.follow()
        loaded = await plane.describe("curves")
        assert loaded.lanes["forward"].limits.batch_tokens == 33


@awaited
async def test_the_budget_lets_the_least_used_go_and_brings_it_back(registry):
    async with serving(registry) as (plane, _):
        size = plane.loaded[0].nbytes
    async with serving(registry, model_bytes=max(size, registry.show("curves:1").size)) as (
        plane,
        heard,
    ):
        assert await answering(plane, "curves:2") == 2
        assert [held.version.number for held in plane.loaded] == [2]
        assert await answering(plane) == 1
        assert heard.of("unloaded") == [(1,), (2,)]


@awaited
async def test_what_never_fits_is_refused(registry):
    async with serving(registry, model_bytes=1000) as (plane, _):
        assert plane.loaded == []
        with pytest.raises(Unsupported, match="model_bytes"):
            await answering(plane)


@awaited
async def test_pins_stay_where_they_are(registry):
    async with serving(registry) as (plane, _):
        pinned = await plane.pin("curves")
        registry.set_alias("curves", "champion", 2)
        await plane.follow()
        assert await answering(plane) == 2
        assert await answering(plane, pinned.ref) == 1


@awaited
async def test_draining_lets_requests_end_and_takes_no_new_ones(registry):
    async with serving(registry) as (plane, _):
        await slowed(plane, 0.2)
        asked = [asyncio.ensure_future(answering(plane)) for _ in range(20)]
        await until(lambda: plane.inflight == 20)
        assert await plane.drain(10)
        assert await asyncio.gather(*asked) == [1] * 20
        with pytest.raises(Unavailable, match="closing"):
            await answering(plane)


@awaited
async def test_a_cancelled_request_leaves_nothing(registry):
    async with serving(registry, threads=1) as (plane, heard):
        await slowed(plane, 0.3)
        asked = [asyncio.ensure_future(answering(plane)) for _ in range(50)]
        await until(lambda: plane.inflight == 50)
        for each in asked:
            each.cancel()
        assert all(
            isinstance(e, asyncio.CancelledError | Cancelled)
            for e in await asyncio.gather(*asked, return_exceptions=True)
        )
        assert plane.inflight == 0
        assert (await plane.describe("curves")).lanes["forward"].count == 0
        assert await answering(plane) == 1
        assert heard.of("served").count((1, "CancelledError")) == 50


@awaited
async def test_a_request_that_comes_too_late_is_refused(registry):
    async with serving(registry) as (plane, _):
        with pytest.raises(DeadlineExceeded):
            await answering(plane, deadline=time.monotonic() - 0.01)


@awaited
async def test_a_full_queue_is_told(registry):
    async with serving(registry, queue=3) as (plane, _):
        await slowed(plane, 0.01)
        asked = [asyncio.ensure_future(answering(plane)) for _ in range(200)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in done} == {int, Overloaded}
