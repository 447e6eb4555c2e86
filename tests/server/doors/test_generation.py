"""The door of generation, over a real plane and a real channel."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from foretoken.errors import Cancelled, DeadlineExceeded
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.generation import Sampling
from foretoken.models.tasks import GenerationRequest
from foretoken.proto import generation as wire
from tests.asynchronous import awaited
from tests.server.doors.generation_port import (
    LAYERS,
    POSITIONS,
    PROMPT,
    WHOLE,
    door,
    freed,
    ids,
    refused,
    registered,
    request,
    text,
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with registered(tmp_path_factory, published) as made:
        yield made


@awaited
async def test_a_stream_begins_tells_tokens_and_ends(registry):
    async with door(registry) as ours:
        said = [each async for each in ours.generate(request(max_tokens=6, logprobs=3))]
        kinds = [each.WhichOneof("message") for each in said]
        assert kinds == ["begun", *["token"] * (len(said) - 2), "ended"]
        (wanted,) = (await ours.plane.predict("sums", [GenerationRequest(PROMPT, 6)])).replies
        tokens = [each.token for each in said[1:-1]]
        assert [token.id for token in tokens] == [token.id for token in wanted.tokens]
        assert "".join(token.text for token in tokens) == wanted.text
        for token, other in zip(tokens, wanted.tokens, strict=True):
            assert token.logprob == pytest.approx(other.logprob, abs=1e-5)
            assert len(token.likeliest) == 3
            assert token.likeliest[0].id == token.id
            assert token.likeliest[0].logprob == token.logprob
        begun, ended = said[0].begun, said[-1].ended
        assert (begun.model, begun.version) == (ended.model, ended.version) == ("sums", 1)
        assert tuple(ended.chain.layers) == WHOLE
        assert ended.finish == wanted.finish
        assert (ended.prompt_tokens, ended.cached_tokens) == (len(VOCABULARY.encode(PROMPT)), 0)
        assert ended.layers_run == LAYERS * (ended.prompt_tokens + len(tokens) - 1)


@awaited
async def test_clients_take_tokens_and_then_the_whole_answer(registry):
    async with door(registry) as ours:
        long = PROMPT * 4
        for chain in (None, (0, 0, 1, 2), (2,), [1, 0]):
            request = GenerationRequest(long, 5, chain=None if chain is None else tuple(chain))
            (wanted,) = (await ours.plane.predict("sums", [request])).replies
            answer = ours.client.generate("sums", long, chain, max_tokens=5)
            assert [token async for token in answer] == list(answer.reply.tokens)
            reply = answer.reply
            assert [token.id for token in reply.tokens] == [t.id for t in wanted.tokens]
            assert (reply.text, reply.finish) == (wanted.text, wanted.finish)
            assert reply.chain == tuple(chain or WHOLE)
            assert (reply.ref, reply.cached_tokens) == ("sums:1", 16)
            computed = reply.prompt_tokens - 16 + len(reply.tokens) - 1
            assert reply.layers_run == len(reply.chain) * computed


@awaited
async def test_prompts_are_text_or_tokens(registry):
    async with door(registry) as ours:
        tokens = await ours.client.tokenize("sums", PROMPT)
        assert tokens == list(VOCABULARY.encode(PROMPT))
        assert await ours.client.detokenize("sums", tokens) == PROMPT
        answers = []
        for prompt in (PROMPT, tokens, np.array(tokens, np.int32)):
            answer = ours.client.generate("sums", prompt, max_tokens=4)
            answers.append([token.id async for token in answer])
        assert answers[0] == answers[1] == answers[2]


@awaited
async def test_what_is_drawn_without_a_seed_is_drawn_again_with_the_one_that_is_told(registry):
    async with door(registry) as ours:

        async def drawn(**how):
            answer = ours.client.generate("sums", PROMPT, temperature=3.0, max_tokens=12, **how)
            return [token.id async for token in answer], answer.reply.seed

        one, seed = await drawn()
        assert await drawn(seed=seed) == (one, seed)
        assert len({seed, *[(await drawn())[1] for _ in range(3)]}) == 4
        request = GenerationRequest(PROMPT, 12, Sampling(3.0, seed=seed))
        (wanted,) = (await ours.plane.predict("sums", [request])).replies
        assert [token.id for token in wanted.tokens] == one


@awaited
async def test_options_of_sampling_and_ends_arrive(registry):
    async with door(registry) as ours:
        sampling = {"temperature": 2.0, "top_k": 3, "top_p": 0.9, "min_p": 0.01, "seed": 7}
        sampling["repetition_penalty"] = 1.3
        (reply,) = (
            await ours.plane.predict("sums", [GenerationRequest(PROMPT, 8, Sampling(**sampling))])
        ).replies
        answer = ours.client.generate("sums", PROMPT, max_tokens=8, **sampling)
        assert [token.id async for token in answer] == [token.id for token in reply.tokens]
        plain = ours.client.generate("sums", PROMPT, max_tokens=8)
        whole = [token async for token in plain]
        ended = ours.client.generate("sums", PROMPT, max_tokens=8, ends=[whole[1].id])
        first = [token.id for token in whole].index(whole[1].id)
        assert [t.id async for t in ended] == [token.id for token in whole[: first + 1]]
        assert ended.reply.finish == "stop"
        stop = plain.reply.text[1:3]
        stopped = ours.client.generate("sums", PROMPT, max_tokens=8, stop=[stop])
        assert "".join([t.text async for t in stopped]) == plain.reply.text.split(stop)[0]


@awaited
async def test_scores_are_teacher_forced(registry):
    async with door(registry) as ours:
        answer = ours.client.generate("sums", PROMPT, (0, 2, 1), max_tokens=5)
        tokens = [token async for token in answer]
        prompt = await ours.client.tokenize("sums", PROMPT)
        whole = [*prompt, *(token.id for token in tokens)]
        scores = await ours.client.score("sums", whole, (0, 2, 1))
        assert (scores.dtype, len(scores)) == (np.float32, len(whole) - 1)
        np.testing.assert_allclose(
            scores[len(prompt) - 1 :], [token.logprob for token in tokens], atol=1e-4
        )
        said = await ours.score(wire.ScoreRequest(model="sums", prompt=text()))
        assert tuple(said.ids) == tuple(VOCABULARY.encode(PROMPT))
        assert len(said.likeliest) == len(said.logprobs) == len(said.ids) - 1
        assert (tuple(said.chain.layers), said.model, said.version) == (WHOLE, "sums", 1)
        np.testing.assert_array_equal(await ours.client.score("sums", PROMPT), said.logprobs)


SAMPLING = [
    ("temperature", -0.1, "temperature must be 0 or more, not -0.1"),
    ("temperature", float("nan"), "temperature must be 0 or more"),
    ("temperature", float("inf"), "temperature must be 0 or more"),
    ("top_k", -1, "top_k must be an integer of 0 or more"),
    ("top_p", 0.0, "top_p must be above 0 and at most 1"),
    ("top_p", 1.5, "top_p must be above 0 and at most 1"),
    ("min_p", -0.5, "min_p must be 0 to 1"),
    ("min_p", 1.01, "min_p must be 0 to 1"),
    ("repetition_penalty", 0.0, "repetition_penalty must be above 0"),
]
INVALID = [
    ({"chain": [0, LAYERS]}, f"chain position 1 is {LAYERS}; layers are 0 to {LAYERS - 1}"),
    ({"chain": [-1]}, "chain position 0 is -1; layers are 0 to"),
    ({"chain": []}, "a chain has 1 to 12 layers, not 0"),
    ({"chain": [0] * 13}, "a chain has 1 to 12 layers, not 13"),
    ({"chain": [0] * 70_000}, "a chain has at most 65536 layers"),
    ({"max_tokens": 60}, "come to 67; this model has positions for 64"),
    ({"prompt": text("1" * (POSITIONS + 1)), "max_tokens": 1}, "positions for 64"),
    ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
    ({"max_tokens": -3}, "max_tokens must be at least 1, not -3"),
    ({"prompt": wire.Prompt()}, "prompt is missing"),
    ({"prompt": text("\u00e9")}, "cannot be told in this model's tokens"),
    ({"prompt": text(b"\xff")}, "the prompt is not UTF-8: invalid start byte at byte 0"),
    ({"prompt": ids()}, "a list of at least one token"),
    ({"prompt": ids(1, -1)}, "the prompt holds -1; tokens are 0 to"),
    ({"prompt": ids(10_000)}, "the prompt holds 10000"),
    ({"ends": [99_999]}, "ends holds 99999"),
    ({"stop": [""]}, "none of them empty"),
    ({"stop": ["a"] * 17}, "stop holds at most 16 texts"),
    ({"logprobs": 21}, "logprobs is 0 to 20, not 21"),
    ({"logprobs": -1}, "logprobs is 0 to 20, not -1"),
    ({"policy": "deepest"}, "policy is one of full, chain, menu, search, not 'deepest'"),
    ({"policy": "chain"}, "a chain and the policy 'chain' go together"),
    ({"policy": "full", "chain": [0]}, "a chain and the policy 'chain' go together"),
    ({"policy": "search"}, "a verifier and the policy 'search' go together"),
    ({"verifier": wire.Verifier(exact="4")}, "a verifier and the policy 'search' go together"),
    ({"policy": "search", "verifier": wire.Verifier()}, "one of exact, pattern and confident"),
    ({"policy": "search", "verifier": wire.Verifier(exact="")}, "must not be empty"),
    ({"policy": "search", "verifier": wire.Verifier(pattern="(")}, "not a regular expression"),
    ({"search": wire.SearchOptions(simulations=0)}, "simulations is 1 to 100000, not 0"),
    ({"search": wire.SearchOptions(random_child=2.0)}, "random_child is at most 1"),
    ({"model": "mute"}, "no tokenizer; give the prompt as token ids"),
    ({"model": "mute", "prompt": ids(1), "stop": ["a"]}, "no text to stop at"),
    ({"model": "texts"}, "model 'texts' answers text requests, not generation"),
]
INVALID += [({"sampling": wire.Sampling(**{name: value})}, said) for name, value, said in SAMPLING]


@awaited
async def test_bad_requests_are_refused_by_name_and_leave_nothing(registry):
    async with door(registry) as ours:
        for fields, said in INVALID:
            code, kind, details = await refused(ours.generate(request(**fields)))
            assert (code, kind) == ("INVALID_ARGUMENT", "InvalidInput"), fields
            assert said in details, fields
        found = await refused(ours.generate(request(model="nobody")))
        assert found[:2] == ("NOT_FOUND", "NotFound")
        assert "nobody" in found[2]
        await freed(ours)
        await freed(ours, "mute")


@awaited
async def test_limits_of_the_server_are_named(registry):
    async with door(registry, text_bytes=100, request_tokens=8, texts=3) as ours:
        for fields, said in (
            ({"prompt": text("1" * 101)}, "(text_bytes)"),
            ({"prompt": ids(*[1] * 9)}, "(request_tokens)"),
            ({"ends": [1] * 9}, "ends holds 9 tokens; at most 8"),
        ):
            code, _, details = await refused(ours.generate(request(**fields)))
            assert code == "INVALID_ARGUMENT"
            assert said in details
        rows = [wire.Labelled(prompt=b"1", verifier=wire.Verifier(exact="2"))] * 4
        asked = wire.SearchRequest(model="sums", problems=wire.Problems(rows=rows))
        assert "(texts)" in (await refused(ours.search(asked)))[2]


@awaited
async def test_other_methods_refuse_by_name(registry):
    async with door(registry) as ours:
        for call, said in (
            (ours.score(wire.ScoreRequest(model="sums", prompt=ids(1))), "1 tokens cannot be"),
            (ours.score(wire.ScoreRequest(model="sums")), "prompt is missing"),
            (
                ours.score(wire.ScoreRequest(model="sums", prompt=text(), chain=wire.Chain())),
                "a chain has 1 to 12 layers, not 0",
            ),
            (ours.score(wire.ScoreRequest(model="texts", prompt=text())), "answers text"),
            (ours.tokenize(wire.TokenizeRequest(model="sums")), "prompt is missing"),
            (ours.tokenize(wire.TokenizeRequest(model="mute", prompt=text())), "no tokenizer"),
            (ours.tokenize(wire.TokenizeRequest(model="texts", prompt=text())), "answers text"),
            (
                ours.tokenize(wire.TokenizeRequest(model="sums", prompt=ids(1, 9999))),
                "holds 9999",
            ),
            (ours.search(wire.SearchRequest(model="sums")), "give a problem, or problems"),
            (
                ours.search(wire.SearchRequest(model="sums", problem=wire.Problem(prompt=text()))),
                "verifier is one of exact, pattern and confident",
            ),
            (
                ours.search(
                    wire.SearchRequest(
                        model="sums",
                        problems=wire.Problems(
                            rows=[
                                wire.Labelled(prompt=b"1", verifier=wire.Verifier(exact="2")),
                                wire.Labelled(
                                    prompt=b"1",
                                    verifier=wire.Verifier(confident=wire.Confidence()),
                                ),
                            ]
                        ),
                    )
                ),
                "row 1: its verifier is exact or pattern",
            ),
        ):
            code, kind, details = await refused(call)
            assert (code, kind) == ("INVALID_ARGUMENT", "InvalidInput"), said
            assert said in details


@awaited
async def test_whoever_goes_frees_blocks_at_once(registry):
    async with door(registry) as ours:
        chain = WHOLE * 4
        for _ in range(3):
            call = ours.generate(request(chain=chain, max_tokens=50))
            while (await call.read()).WhichOneof("message") != "token":
                pass
            call.cancel()
            await freed(ours)
        answer = ours.client.generate("sums", PROMPT, chain, max_tokens=50)
        await anext(answer)
        await answer.close()
        assert [token async for token in answer] == []
        await freed(ours)
        with pytest.raises(DeadlineExceeded):
            async for _ in ours.client.generate("sums", PROMPT, chain, max_tokens=57, timeout=1e-3):
                pass
        await freed(ours)


@awaited
async def test_the_task_that_awaits_a_token_may_be_cancelled(registry):
    async with door(registry) as ours:
        answer = ours.client.generate("sums", PROMPT, WHOLE * 4, max_tokens=50)
        task = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, Cancelled)):
            await task
        await freed(ours)
