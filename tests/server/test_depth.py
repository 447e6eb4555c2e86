"""Chains that are searched for, and menus, by a plane: as one chain after another says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.depth.menus import Menu, agreed
from foretoken.models.depth.requests import SearchOptions, SearchProgress, SearchRequest
from foretoken.models.depth.verifiers import Exact, Matches
from foretoken.models.tasks import GenerationRequest
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.toys.cola import greedy, made, written

PROMPT = "12+34="
OPTIONS = SearchOptions(simulations=60, together=8)
MENU = Menu(((0, 1, 2), (1, 2), (0, 0, 2), (2,), (1, 1), (0, 2)), 3)


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture(scope="module")
def plane(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cola")
    artefact = written(model, folder)
    with Registry.open(tmp_path_factory.mktemp("data")) as registry:
        registry.register("sums", artefact)
        config = {**artefact.config, "menu": MENU.said()}
        registry.register("menu", replace(artefact, config=config))
        with LocalPlane(registry, load_settings()) as plane:
            yield plane


def asked(plane, request):
    """The reply, and what was told before."""
    told = []
    work = plane.plane.predict("sums", [request], emit=lambda _i, what: told.append(what))
    (reply,) = plane.run(work).replies
    return reply, told


def test_exact_answers_are_those_that_greedy_decoding_gives(plane, model):
    chains = [t.chain for t in asked(plane, SearchRequest(PROMPT, Exact("1")))[0].tried]
    answers = {c: greedy(model, PROMPT, 3, c) for c in chains}
    labels = {VOCABULARY.decode(ids) for ids in answers.values() if ids[-1] == EOS} - {""}
    assert len(labels) > 3
    for label in sorted(labels)[:4]:
        reply, told = asked(plane, SearchRequest(PROMPT, Exact(label), options=OPTIONS))
        ids = [*VOCABULARY.encode(label)[1:], EOS]
        for t in reply.tried:
            assert t.reward == float(greedy(model, PROMPT, len(ids), t.chain) == ids), t
        assert all(isinstance(each, SearchProgress) for each in told)
        assert (told[-1].simulations, told[-1].tried, told[-1].best) == (60, 60, reply.best)
    listed = SearchRequest(PROMPT, Exact(min(labels)), chains=tuple(chains))
    assert any(t.reward for t in asked(plane, listed)[0].tried)


def test_patterns_see_what_is_generated(plane, model):
    request = SearchRequest(PROMPT, Matches("[0-9]"), 2, OPTIONS)
    reply, _ = asked(plane, request)
    for t in reply.tried:
        text = VOCABULARY.decode(greedy(model, PROMPT, 2, t.chain))
        assert t.reward == float(any(c.isdigit() for c in text))
    assert 0 < sum(t.reward for t in reply.tried) < len(reply.tried)


def test_generation_goes_by_what_a_search_finds(plane):
    request = GenerationRequest(
        PROMPT, 2, policy="search", verifier=Matches("[0-9]"), search=OPTIONS
    )
    found, _ = asked(plane, SearchRequest(PROMPT, Matches("[0-9]"), 2, OPTIONS))
    reply, told = asked(plane, request)
    assert reply.chain == found.best.chain
    assert any(c.isdigit() for c in reply.text)
    assert told == list(reply.tokens)


@pytest.mark.parametrize("prompt", ["12+34=", "7*8=", "%97:3+4=", "1+1="])
def test_a_menu_agrees(plane, model, prompt):
    (reply,) = plane.predict("menu", [GenerationRequest(prompt, 6, policy="menu")])
    short = [tuple(greedy(model, prompt, 3, chain)) for chain in MENU.chains]
    assert reply.chain == MENU.chains[agreed(short)]
    assert [t.id for t in reply.tokens] == greedy(model, prompt, 6, reply.chain)


def test_searches_leave_no_blocks_behind(plane):
    generator = plane.run(plane.plane.describe("sums")).generator
    assert generator.blocks.free == generator.blocks.count
    assert not generator.busy


def test_what_cannot_be_searched_is_refused(plane):
    for request, message in (
        (SearchRequest(PROMPT, Exact("é")), "cannot be told"),
        (SearchRequest("1" * 62, Exact("12")), "2 to 64 can"),
        (SearchRequest(PROMPT, Exact("1"), options=SearchOptions(longest=13)), "at most 12 here"),
        (SearchRequest(PROMPT, Exact("1"), options=SearchOptions(longest=2)), "the whole one"),
        (SearchRequest(PROMPT, Matches("1"), 64), "positions for 64"),
    ):
        with pytest.raises(InvalidInput, match=message):
            plane.predict("sums", [request])
    with pytest.raises(Unsupported, match="no menu"):
        plane.predict("sums", [GenerationRequest(PROMPT, 2, policy="menu")])
