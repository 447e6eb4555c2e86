"""Generation by both clients, against a real server of two workers, and on a bad day."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken import AsyncClient, Client
from foretoken.client import Generating
from foretoken.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InternalError,
    InvalidInput,
    InvalidType,
    NotFound,
    Unavailable,
)
from foretoken.generated import Found, SearchProgress
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.proto import generation as wire
from foretoken.server.registry.registry import Registry
from tests.client_server import aborting
from tests.serving import serving
from tests.toys import cola

PROMPT = "12+34="
LAYERS = cola.CONFIG["shape"]["layers"]


@pytest.fixture(scope="module")
def model():
    return cola.made()


@pytest.fixture(scope="module")
def served(tmp_path_factory, model):
    """A server that has a small model which generates."""
    folder = tmp_path_factory.mktemp("generation")
    with Registry.open(folder) as registry:
        registry.register("sums", cola.written(model, tmp_path_factory.mktemp("sums")))
    with serving(workers=2, data_dir=folder) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def answered(request):
    """``answered(address, *args, **kwargs)``: tokens and the whole answer, by either client."""

    def sync(address, *args, **kwargs):
        with Client(address) as client, client.generate(*args, **kwargs) as answer:
            return list(answer), answer.reply

    async def once(address, *args, **kwargs):
        async with AsyncClient(address) as client, client.generate(*args, **kwargs) as answer:
            return [token async for token in answer], answer.reply

    if request.param == "sync":
        return sync
    return lambda *args, **kwargs: asyncio.run(once(*args, **kwargs))


@pytest.mark.parametrize("chain", [None, [0, 0, 1, 2], (2,), np.array([1, 0])])
def test_tokens_are_those_of_the_model(answered, served, model, chain):
    wanted = cola.greedy(model, PROMPT, 7, None if chain is None else [int(i) for i in chain])
    tokens, reply = answered(served.address, "sums", PROMPT, chain, max_tokens=7, logprobs=1)
    assert [token.id for token in tokens] == wanted
    assert reply.tokens == tuple(tokens)
    assert reply.text == VOCABULARY.decode(wanted)
    assert reply.chain == tuple(range(LAYERS) if chain is None else map(int, chain))
    assert all(token.likeliest == ((token.id, token.logprob),) for token in tokens)
    assert (reply.model, reply.version, reply.ref) == ("sums", 1, "sums:1")


def test_scores_and_tokens(ask, served, model):
    ids = ask(served.address, "tokenize", "sums", PROMPT)
    assert ids == list(VOCABULARY.encode(PROMPT))
    assert ask(served.address, "detokenize", "sums", ids) == PROMPT
    scores = ask(served.address, "score", "sums", ids, [1, 0])
    import torch

    with torch.no_grad():
        whole = model(torch.tensor([ids]), (1, 0))[0].log_softmax(-1)
    wanted = [float(whole[i, ids[i + 1]]) for i in range(len(ids) - 1)]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_a_search_is_heard_and_found(ask, served, model):
    heard = []
    found = ask(
        served.address, "search", "sums", PROMPT, pattern="[0-9]", max_tokens=2, simulations=40,
        together=8, heard=heard.append,
    )  # fmt: skip
    assert isinstance(found, Found)
    assert (found.layers, found.model, found.version) == (LAYERS, "sums", 1)
    for tried in found.tried:
        text = VOCABULARY.decode(cola.greedy(model, PROMPT, 2, tried.chain))
        assert tried.reward == float(any(c.isdigit() for c in text))
    assert all(isinstance(each, SearchProgress) for each in heard)
    assert heard[-1].best == found.best


def test_the_policy_search_answers_by_what_is_found(answered, served):
    tokens, reply = answered(
        served.address, "sums", PROMPT, policy="search", pattern="[0-9]", max_tokens=2,
        simulations=60, together=8,
    )  # fmt: skip
    assert any(c.isdigit() for c in "".join(token.text for token in tokens))
    assert reply.chain


def test_a_model_says_how_many_layers_it_has(ask, served):
    info = ask(served.address, "model", "sums")
    assert (info.task, info.kind, info.config["num_layers"]) == ("generation", "generative", LAYERS)


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"prompt": b"12"}, InvalidType, "not bytes"),
        ({"prompt": [1.5]}, InvalidType, "a list of integers"),
        ({"prompt": [[1], [2]]}, InvalidInput, "not of 2 axes"),
        ({"prompt": "\ud800"}, InvalidInput, "the prompt is not Unicode"),
        ({"prompt": [1 << 40]}, InvalidInput, "ids"),
        ({"chain": "01"}, InvalidType, "chain is a list of integers"),
        ({"stop": "x"}, InvalidType, "stop is a list of str"),
        ({"max_tokens": "many"}, InvalidInput, "max_tokens"),
        ({"top_k": 1.5}, InvalidInput, "top_k"),
        ({"seed": -1}, InvalidInput, "seed"),
        ({"answer": "1", "pattern": "2"}, InvalidInput, "one of answer, pattern and confident"),
        ({"depth": 3}, InvalidInput, "depth"),
        ({"timeout": 0}, InvalidInput, "timeout must be a positive number"),
    ],
)
def test_what_is_refused_before_it_is_sent(answered, fake, given, kind, said):
    with pytest.raises(kind, match=said):
        answered(fake.address, "sums", **{"prompt": PROMPT, **given})
    assert fake.asked == []


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"model": "nobody"}, NotFound, "nobody"),
        ({"model": "lcpfn"}, InvalidInput, "answers curve requests"),
        ({"chain": []}, InvalidInput, "a chain has 1 to 12 layers, not 0"),
        ({"chain": [LAYERS]}, InvalidInput, f"chain position 0 is {LAYERS}"),
        ({"max_tokens": 64}, InvalidInput, "positions for 64"),
        ({"temperature": -1}, InvalidInput, "temperature must be 0 or more"),
        ({"policy": "deep"}, InvalidInput, "policy is one of"),
        ({"prompt": ""}, None, ""),
    ],
)
def test_what_the_server_refuses(answered, served, given, kind, said):
    asked = {"model": "sums", "prompt": PROMPT, **given}
    if kind is None:  # an empty text is what the tokenizer puts before each
        assert answered(served.address, **asked)[1].prompt_tokens == 1
        return
    with pytest.raises(kind, match=said):
        answered(served.address, **asked)


def test_searches_that_are_refused(ask, served):
    with pytest.raises(InvalidInput, match="one of answer, pattern and confident"):
        ask(served.address, "search", "sums", PROMPT)
    with pytest.raises(InvalidInput, match="not a regular expression"):
        ask(served.address, "search", "sums", PROMPT, pattern="(")
    with pytest.raises(InvalidInput, match="simulations is 1 to"):
        ask(served.address, "search", "sums", PROMPT, answer="1", simulations=0)
    for rows, said in (
        ([{"prompt": "1"}], "row 0: a search takes one of"),
        ([{"prompt": "1", "answer": "1"}, "no"], "row 1 is a mapping"),
        ([{"prompt": "1", "answer": "1", "other": "1"}], "row 0 is a mapping"),
    ):
        with pytest.raises(InvalidInput, match=said):
            ask(served.address, "search_rows", "sums", rows)


def test_an_answer_may_be_left_and_says_so(served):
    with Client(served.address) as client:
        answer = client.generate("sums", PROMPT, [0, 1, 2] * 4, max_tokens=40)
        assert isinstance(answer, Generating)
        with pytest.raises(FailedPrecondition, match="has not ended"):
            _ = answer.reply
        next(answer)
        answer.close()
        assert list(answer) == []
        with pytest.raises(FailedPrecondition, match="has not ended"):
            _ = answer.reply
        with pytest.raises(DeadlineExceeded):
            list(client.generate("sums", PROMPT, [0, 1, 2] * 4, max_tokens=50, timeout=1e-3))
        whole = client.generate("sums", PROMPT, max_tokens=3)
        assert len(list(whole)) == len(whole.reply.tokens)
        assert list(whole) == []


def test_many_answers_at_a_time_by_one_client(served, model):
    prompts = [f"{a}+{b}=" for a in range(3) for b in range(10, 14)]

    async def one(client, prompt):
        return [token.id async for token in client.generate("sums", prompt, max_tokens=6)]

    async def all_of_them():
        async with AsyncClient(served.address) as client:
            return await asyncio.gather(*[one(client, prompt) for prompt in prompts])

    found = asyncio.run(all_of_them())
    assert found == [cola.greedy(model, prompt, 6) for prompt in prompts]


def test_what_has_told_nothing_is_asked_again(answered, fake):
    def answer(name, context):
        if len(fake.asked) < 3:
            aborting(grpc.StatusCode.UNAVAILABLE)(name, context)
        ended = wire.Ended(finish="stop", chain=wire.Chain(layers=[0]), model="m", version=1)
        return wire.GenerateResponse(ended=ended).SerializeToString()

    fake.answer = answer
    tokens, reply = answered(fake.address, "m", PROMPT)
    assert (tokens, reply.finish, len(fake.asked)) == ([], "stop", 3)


def test_a_server_that_stays_away(answered, fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(Unavailable):
        answered(fake.address, "m", PROMPT, timeout=30)
    assert len(fake.asked) == 5


def test_replies_that_are_malformed(answered, ask, fake):
    fake.answer = lambda *_: wire.GenerateResponse().SerializeToString()
    with pytest.raises(InternalError, match="a message tells nothing"):
        answered(fake.address, "m", PROMPT)
    fake.answer = lambda *_: b"\xff"
    with pytest.raises(InternalError, match="malformed"):
        answered(fake.address, "m", PROMPT)
    with pytest.raises(InternalError, match="malformed"):
        ask(fake.address, "search", "m", PROMPT, answer="1")
    told = wire.SearchResponse(progress=wire.SearchProgress(simulations=1))
    fake.answer = lambda *_: told.SerializeToString()
    with pytest.raises(InternalError, match="no end"):
        ask(fake.address, "search", "m", PROMPT, answer="1")
    fake.answer = lambda *_: wire.ScoreResponse(ids=[1, 2], logprobs=[]).SerializeToString()
    with pytest.raises(InternalError, match="malformed"):
        ask(fake.address, "score", "m", [1, 2])
