"""OpenAI's completions and chats on the HTTP port, by OpenAI's own client."""

from __future__ import annotations

import asyncio
import time

import pytest

from foretoken.models.cola.vocabulary import VOCABULARY
from tests.asynchronous import awaited
from tests.generating import chat_ids, greedy, registered
from tests.server.doors.openai_port import port

USER = [{"role": "user", "content": "1+2="}]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registered(tmp_path_factory.mktemp("openai")) as registry:
        yield registry


@pytest.fixture
def openai():
    return pytest.importorskip("openai", reason="openai, which is a development package, is absent")


def by_client(registry, openai, ask, key="unused", **given):
    """What ``ask`` gives for a client of OpenAI's of a port."""

    async def answer():
        async with port(registry, **given) as running:
            with openai.OpenAI(base_url=running.url, api_key=key, max_retries=0) as client:
                return await asyncio.to_thread(ask, client)

    return asyncio.run(answer())


def test_completions(registry, openai):
    def ask(client):
        return client.completions.create(
            model="sums",
            prompt=["12+34=", "7*8="],
            max_tokens=6,
            logprobs=2,
            extra_body={"chain": [0, 1, 1, 2]},
        )

    made = by_client(registry, openai, ask)
    for choice, prompt in zip(made.choices, ("12+34=", "7*8="), strict=True):
        ids = greedy(VOCABULARY.encode(prompt), 6, (0, 1, 1, 2))
        assert choice.text == VOCABULARY.decode(ids)
        assert choice.logprobs.tokens == [VOCABULARY.tokens[i] for i in ids]
        assert len(choice.logprobs.top_logprobs[0]) == 2
        assert choice.finish_reason in ("length", "stop")
    assert made.usage.prompt_tokens == 7 + 5
    assert made.usage.prompt_tokens_details.cached_tokens == 0
    assert made.foretoken["chain"] == [0, 1, 1, 2]
    assert (made.object, made.model) == ("text_completion", "sums:1")


def test_chats(registry, openai):
    def ask(client):
        first = client.chat.completions.create(
            model="sums", messages=USER, max_completion_tokens=6, logprobs=True, top_logprobs=3
        )
        # What was answered goes back as it came.
        more = [*USER, first.choices[0].message, {"role": "user", "content": "3"}]
        return first, client.chat.completions.create(model="sums", messages=more, max_tokens=3)

    first, second = by_client(registry, openai, ask)
    (choice,) = first.choices
    ids = greedy(chat_ids(("user", "1+2=")), 6)
    assert choice.message.content == VOCABULARY.decode(ids)
    assert choice.message.role == "assistant"
    told = choice.logprobs.content
    assert [each.token for each in told] == [VOCABULARY.tokens[i] for i in ids]
    assert all(len(each.top_logprobs) == 3 for each in told)
    said = [("user", "1+2="), ("assistant", choice.message.content), ("user", "3")]
    wanted = greedy(chat_ids(*said), 3)
    assert second.choices[0].message.content == VOCABULARY.decode(wanted)
    assert second.usage.prompt_tokens_details.cached_tokens == 16


def test_streams_of_completions_and_chats(registry, openai):
    def ask(client):
        texts = client.completions.create(
            model="sums", prompt="12+34=", max_tokens=9, n=2, seed=1, temperature=1, stream=True
        )
        chats = client.chat.completions.create(
            model="sums",
            messages=USER,
            max_tokens=9,
            stream=True,
            stream_options={"include_usage": True},
        )
        same = client.completions.create(
            model="sums", prompt="12+34=", max_tokens=9, n=2, seed=1, temperature=1
        )
        return list(texts), list(chats), same

    texts, chats, same = by_client(registry, openai, ask)
    for i, choice in enumerate(same.choices):
        parts = [part.choices[0] for part in texts if part.choices[0].index == i]
        assert "".join(part.text for part in parts) == choice.text
        assert parts[-1].finish_reason == choice.finish_reason
    assert texts[-1].foretoken["seed"] == 1
    *chats, used = chats
    ids = greedy(chat_ids(("user", "1+2=")), 9)
    text = "".join(part.choices[0].delta.content or "" for part in chats)
    assert text == VOCABULARY.decode(ids)
    assert chats[0].choices[0].delta.role == "assistant"
    assert (used.choices, used.usage.completion_tokens) == ([], len(ids))


def test_the_client_s_own_helper_for_streams(registry, openai):
    text = VOCABULARY.decode(greedy(chat_ids(("user", "1+2=")), 9))
    stop = text[5:7]  # the helper raises what ends for its length

    def ask(client):
        with client.chat.completions.stream(model="sums", messages=USER, stop=stop) as stream:
            kinds = [event.type for event in stream]
            return kinds, stream.get_final_completion()

    kinds, made = by_client(registry, openai, ask)
    assert made.choices[0].message.content == text[: text.index(stop)]
    assert kinds.count("content.delta") == 1 + text.index(stop), "who speaks comes before"


@awaited
async def test_the_asynchronous_client_that_leaves_frees_the_blocks(registry, openai):
    async with port(registry) as running:
        generator = (await running.plane.describe("sums")).generator
        turn = generator.turn

        def late():
            time.sleep(0.005)
            return turn()

        generator.turn = late
        client = openai.AsyncOpenAI(base_url=running.url, api_key="unused", max_retries=0)
        stream = await client.completions.create(
            model="sums",
            prompt="1",
            max_tokens=60,
            stream=True,
            extra_body={"chain": [0, 1, 2] * 4},
        )
        seen = [part async for _, part in _first(stream, 2)]
        assert seen[0].choices[0].text
        assert generator.blocks.free < generator.blocks.count
        turns = generator.turns
        await stream.close()
        async with asyncio.timeout(10):
            while generator.blocks.free < generator.blocks.count:
                await asyncio.sleep(0.005)
        assert generator.turns - turns < 400
        await client.close()


async def _first(stream, count):
    for i in range(count):
        yield i, await anext(stream)


@pytest.mark.parametrize(
    ("fields", "key", "kind", "param", "code"),
    [
        ({"max_tokens": 0}, "unused", "BadRequestError", "max_tokens", None),
        ({"echo": True}, "unused", "BadRequestError", "echo", None),
        ({"extra_body": {"chain": [7]}}, "unused", "BadRequestError", None, None),
        ({"prompt": "1" * 60}, "unused", "BadRequestError", None, None),
        ({"model": "nobody"}, "unused", "NotFoundError", None, "model_not_found"),
        ({}, "ftk_bad", "AuthenticationError", None, "invalid_api_key"),
        ({}, "ftk_often", "RateLimitError", None, "rate_limit_exceeded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_client_raises_what_it_would(registry, openai, fields, key, kind, param, code, stream):
    def ask(client):
        with pytest.raises(openai.APIStatusError) as caught:
            client.completions.create(**{"model": "sums", "prompt": "1", **fields}, stream=stream)
        return caught.value

    error = by_client(registry, openai, ask, key)
    assert type(error).__name__ == kind
    assert (error.type, error.param, error.code) == ("invalid_request_error", param, code)


def test_an_error_on_the_way_is_raised_by_the_client(registry, openai):
    async def answer():
        async with port(registry, deadline=2.0) as running:
            generator = (await running.plane.describe("sums")).generator
            turn = generator.turn

            def late():
                time.sleep(0.01)
                return turn()

            generator.turn = late
            with openai.OpenAI(base_url=running.url, api_key="no", max_retries=0) as client:
                return await asyncio.to_thread(ask, client)

    def ask(client):
        own = {"chain": [0] * 9}
        stream = client.completions.create(
            model="sums", prompt="1", max_tokens=60, stream=True, extra_body=own
        )
        first = next(stream)
        with pytest.raises(openai.APIError, match="the deadline passed"):
            list(stream)
        return first

    assert asyncio.run(answer()).choices[0].finish_reason is None
