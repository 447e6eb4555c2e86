"""Searches and menus by the door of generation, over a real plane and a real channel."""

from __future__ import annotations

import asyncio

import pytest

from foretoken import AsyncClient
from foretoken.errors import PermissionDenied, Unauthenticated
from foretoken.models.depth.requests import SearchOptions, SearchRequest
from foretoken.models.depth.verifiers import Matches
from foretoken.proto import generation as wire
from foretoken.server.plane import Plane
from foretoken.server.settings import load_settings
from foretoken.server.terms import LOCAL, Caller, Scope
from tests.asynchronous import awaited
from tests.server.doors.generation_port import (
    LAYERS,
    PROMPT,
    WHOLE,
    door,
    freed,
    registered,
    served,
    text,
)
from tests.server.doors.serving import serving


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with registered(tmp_path_factory, published) as made:
        yield made


@awaited
async def test_a_search_tells_how_far_it_is_and_what_it_has_found(registry):
    async with door(registry) as ours:
        problem = wire.Problem(prompt=text(), verifier=wire.Verifier(pattern="[0-9]"))
        options = wire.SearchOptions(simulations=40, together=8)
        asked = wire.SearchRequest(model="sums", problem=problem, max_tokens=2, options=options)
        *progress, found = [each async for each in ours.search(asked)]
        assert [each.WhichOneof("message") for each in progress] == ["progress"] * len(progress)
        assert progress[-1].progress.simulations == 40
        found = found.found
        assert progress[-1].progress.tried == len(found.tried)
        assert (found.layers, found.model, found.version) == (LAYERS, "sums", 1)
        assert tuple(found.tried[0].chain.layers) == WHOLE
        (wanted,) = (
            await ours.plane.predict(
                "sums",
                [SearchRequest(PROMPT, Matches("[0-9]"), 2, SearchOptions(40, together=8))],
            )
        ).replies
        assert [(tuple(t.chain.layers), t.reward) for t in found.tried] == [
            (t.chain, t.reward) for t in wanted.tried
        ]
        sure = await ours.client.search("sums", PROMPT, confident=True, simulations=5)
        assert 0 < sure.best.reward <= 1


def rows(count):
    exact = wire.Verifier(pattern="[0-9]")
    return [wire.Labelled(prompt=f"{i}+{i}=".encode(), verifier=exact) for i in range(count)]


@awaited
async def test_rows_make_a_menu_that_is_stored_beside_what_serves(registry):
    async with door(registry) as ours:
        heard = []
        said = [{"prompt": f"{i}+{i}=", "pattern": "[0-9]"} for i in range(8)]
        menu = await ours.client.search_rows(
            "sums", said, 3, 0.25, 2, 20, heard=heard.append, short=2
        )
        assert {each.stage for each in heard} == {"search", "choose", "measure"}
        searched = [each for each in heard if each.stage == "search"]
        assert sorted(each.row for each in searched) == sorted({each.row for each in searched})
        assert all(each.total == len(searched) == 6 for each in searched)
        assert all(each.layers == LAYERS and each.tried for each in searched)
        assert menu.model == "sums"
        assert 1 <= len(menu.chains) <= 3
        assert menu.figures["rows"] == {"chosen_by": 6, "held_out": 2}
        assert registry.resolve("sums").number == 1
        child = registry.resolve(menu.ref)
        assert (child.parent.name, child.parent.number) == ("sums", 1)
        answer = ours.client.generate(menu.ref, PROMPT, policy="menu", max_tokens=2)
        async for _ in answer:
            pass
        assert answer.reply.chain in menu.chains


@awaited
async def test_whoever_leaves_a_search_ends_it(registry):
    async with door(registry) as ours:
        versions = len(registry.versions("sums"))
        problems = wire.Problems(rows=rows(50))
        problem = wire.Problem(prompt=text(), verifier=wire.Verifier(pattern="never"))
        for what in ({"problems": problems}, {"problem": problem}):
            options = wire.SearchOptions(simulations=5000, together=4)
            call = ours.search(wire.SearchRequest(model="sums", options=options, **what))
            if "problem" in what:
                await call.read()
            else:
                await asyncio.sleep(0.2)
            call.cancel()
            await freed(ours)
        assert len(registry.versions("sums")) == versions


class _Predicts:
    """Lets everybody predict, and nobody change the registry."""

    def caller(self, metadata, peer, scope):
        if scope is Scope.ADMIN:
            raise PermissionDenied("this call needs the scope 'admin'")
        return Caller("anna", frozenset({Scope.PREDICT}))


@awaited
async def test_menus_are_made_by_those_who_may_change_the_registry(registry):
    settings = load_settings()
    plane = Plane(registry, settings)
    async with (
        serving(served(plane, settings), gate=_Predicts()) as listening,
        AsyncClient(f"127.0.0.1:{listening.port}") as client,
    ):
        assert await client.search("sums", PROMPT, answer="1", simulations=2)
        with pytest.raises(PermissionDenied, match="'admin'"):
            await client.search_rows("sums", [{"prompt": "1", "answer": "1"}] * 2)
    await plane.close()


class _Revoking:
    """A gate whose only token can be revoked."""

    revoked = False

    def caller(self, metadata, peer, scope):
        if self.revoked:
            raise Unauthenticated("no valid token")
        return LOCAL


@awaited
async def test_a_menu_ends_with_the_token_that_began_it(registry):
    settings, gate, stages = load_settings(), _Revoking(), []
    plane, versions = Plane(registry, settings), len(registry.versions("sums"))

    def heard(done):
        stages.append(done.stage)
        gate.revoked = True

    async with (
        serving(served(plane, settings), gate=gate) as listening,
        AsyncClient(f"127.0.0.1:{listening.port}") as client,
    ):
        said = [{"prompt": f"{i}+{i}=", "pattern": "[0-9]"} for i in range(8)]
        with pytest.raises(Unauthenticated):
            await client.search_rows("sums", said, 3, 0.5, 2, 4, heard=heard)
    assert set(stages) == {"search"}
    assert len(registry.versions("sums")) == versions
    await plane.close()
