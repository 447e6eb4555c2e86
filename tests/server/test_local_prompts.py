"""Generation in-process for who does not await, and the blocks that a plane tells of."""

from __future__ import annotations

import time

import numpy as np
import pytest

from foretoken.errors import FailedPrecondition, InvalidInput, NotFound
from foretoken.generated import Found, Menu, SearchProgress
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.depth.requests import SearchOptions, SearchRequest
from foretoken.models.depth.verifiers import Matches
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationRequest
from foretoken.server.local import LocalPlane
from foretoken.server.menus import LabelledRow, MenuOptions
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.toys import cola

PROMPT = "12+34="
LONG = GenerationRequest(PROMPT, 50, chain=(0, 1, 2) * 4, ends=())


@pytest.fixture(scope="module")
def model():
    return cola.made()


@pytest.fixture
def registry(tmp_path, model):
    (tmp_path / "sums").mkdir()
    with Registry.open(tmp_path / "data") as registry:
        registry.register("sums", cola.written(model, tmp_path / "sums"))
        yield registry


@pytest.fixture
def plane(registry):
    with LocalPlane(registry, load_settings()) as plane:
        yield plane


def freed(plane):
    generator = plane.run(plane.plane.describe("sums")).generator
    end = time.monotonic() + 20
    while generator.busy and time.monotonic() < end:
        time.sleep(0.005)
    return not generator.busy and generator.blocks.free == generator.blocks.count


def test_tokens_and_then_the_answer(plane, model):
    request = GenerationRequest(PROMPT, 6, Sampling(seed=5), chain=(0, 2, 1))
    with plane.generate("sums", request) as answer:
        tokens = list(answer)
        assert list(answer) == []
    reply = answer.reply
    wanted = cola.greedy(model, PROMPT, 6, (0, 2, 1))
    assert [token.id for token in tokens] == wanted
    assert reply.tokens == tuple(tokens)
    assert (reply.text, reply.chain) == (VOCABULARY.decode(wanted), (0, 2, 1))
    assert (reply.ref, reply.seed, reply.cached_tokens) == ("sums:1", 5, 0)
    assert reply.prompt_tokens == len(VOCABULARY.encode(PROMPT))
    assert reply.layers_run == 3 * (reply.prompt_tokens + len(tokens) - 1)
    assert plane.tokens("sums", PROMPT) == tuple(VOCABULARY.encode(PROMPT))


def test_an_answer_may_be_left(plane):
    answer = plane.generate("sums", LONG)
    next(answer)
    with pytest.raises(FailedPrecondition, match="has not ended"):
        _ = answer.reply
    answer.close()
    answer.close()
    assert list(answer) == []
    assert freed(plane)
    with pytest.raises(FailedPrecondition, match="has not ended"):
        _ = answer.reply


def test_what_is_refused_is_refused_at_the_first_token(plane):
    for model, request, kind, said in (
        ("nobody", LONG, NotFound, "nobody"),
        ("sums", GenerationRequest(PROMPT, 64), InvalidInput, "positions for 64"),
        ("sums", GenerationRequest(np.array([1]), 1, chain=(9,)), InvalidInput, "layers are 0"),
    ):
        answer = plane.generate(model, request)
        with pytest.raises(kind, match=said):
            next(answer)
        with pytest.raises(FailedPrecondition, match="has not ended"):
            _ = answer.reply
        assert list(answer) == []


def test_searches_are_heard(plane):
    heard = []
    options = SearchOptions(20, together=4)
    found = plane.search("sums", SearchRequest(PROMPT, Matches("[0-9]"), 2, options), heard.append)
    assert isinstance(found, Found)
    assert (found.layers, found.model, found.version) == (3, "sums", 1)
    assert all(isinstance(each, SearchProgress) for each in heard)
    assert heard[-1].best == found.best
    rows = [LabelledRow(f"{i}+1=", Matches("[0-9]")) for i in range(4)]
    told = []
    menu = plane.search_rows(
        "sums", rows, MenuOptions(chains=2, search=options, max_tokens=2), told.append
    )
    assert isinstance(menu, Menu)
    assert menu.version == 2
    assert {each.stage for each in told} == {"search", "choose", "measure"}
    assert all(each.tried for each in told if each.stage == "search")
    with pytest.raises(InvalidInput, match="rows"):
        plane.search_rows("sums", rows[:1])
