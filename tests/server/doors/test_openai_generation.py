"""OpenAI's completions and chats on the HTTP port, by raw requests."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
import torch

from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.server.log import Log
from tests.asynchronous import awaited
from tests.generating import LAYERS, chat_ids, greedy, model, registered
from tests.server.doors.openai_port import port, post, streamed

TEXTS, CHATS = "/v1/completions", "/v1/chat/completions"
PROMPT = "12+34="
IDS = VOCABULARY.encode(PROMPT)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registered(tmp_path_factory.mktemp("openai")) as registry:
        yield registry


def texts(prompt=PROMPT, **fields):
    return {"model": "sums", "prompt": prompt, **fields}


def chats(*said, **fields):
    messages = [{"role": role, "content": content} for role, content in said or [("user", "1+2=")]]
    return {"model": "sums", "messages": messages, **fields}


# -- answers --------------------------------------------------------------------------------------


@awaited
async def test_a_completion_is_the_model_s_own_likeliest_text(registry):
    async with port(registry) as running:
        status, said, headers = await post(running, texts(), TEXTS)
        assert (status, headers["content-type"]) == (200, "application/json")
        wanted = greedy(IDS, 16)
        assert list(said) == [
            *("object", "id", "created", "model", "choices", "usage", "foretoken"),
        ]
        assert (said["object"], said["model"]) == ("text_completion", "sums:1")
        assert said["id"] == f"cmpl-{headers['x-request-id']}"
        finish = "length" if len(wanted) == 16 else "stop"
        assert said["choices"] == [
            {
                "index": 0,
                "text": VOCABULARY.decode(wanted),
                "logprobs": None,
                "finish_reason": finish,
            }
        ]
        assert said["usage"] == {
            "prompt_tokens": len(IDS),
            "completion_tokens": len(wanted),
            "total_tokens": len(IDS) + len(wanted),
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        own = said["foretoken"]
        assert own.pop("seed") in range(1 << 32)
        run = LAYERS * (len(IDS) + len(wanted) - 1)
        assert own == {"chain": [0, 1, 2], "layers_run": run, "cached_tokens": 0}


@awaited
async def test_a_chain_is_run_and_prefixes_are_told(registry):
    async with port(registry) as running:
        asked = texts(PROMPT * 4, chain=[0, 0, 2], max_tokens=3)
        ids = VOCABULARY.encode(PROMPT * 4)
        wanted = VOCABULARY.decode(greedy(ids, 3, (0, 0, 2)))
        for cached in (0, 16):
            _, said, _ = await post(running, asked, TEXTS)
            assert said["choices"][0]["text"] == wanted
            assert said["usage"]["prompt_tokens_details"] == {"cached_tokens": cached}
            assert said["foretoken"]["chain"] == [0, 0, 2]
            assert said["foretoken"]["cached_tokens"] == cached
            assert said["foretoken"]["layers_run"] == 3 * (len(ids) - cached + 2)


@awaited
async def test_prompts_of_all_kinds_and_several_at_once(registry):
    async with port(registry) as running:
        one = (await post(running, texts("1+2=", max_tokens=4), TEXTS))[1]
        two = (await post(running, texts("3*4=", max_tokens=4), TEXTS))[1]
        alone = [each["choices"][0]["text"] for each in (one, two)]
        ids = [VOCABULARY.encode(each) for each in ("1+2=", "3*4=")]
        for prompts in (["1+2=", "3*4="], ids, ["1+2=", ids[1]]):
            _, said, _ = await post(running, texts(prompts, max_tokens=4), TEXTS)
            assert [choice["text"] for choice in said["choices"]] == alone
            assert [choice["index"] for choice in said["choices"]] == [0, 1]
            assert said["usage"]["prompt_tokens"] == 10
        _, said, _ = await post(running, texts(ids[0], max_tokens=4), TEXTS)
        assert [choice["text"] for choice in said["choices"]] == alone[:1]


@awaited
async def test_choices_have_seeds_that_follow_on_one_another(registry):
    warm = {"max_tokens": 12, "temperature": 1.5}
    async with port(registry) as running:
        asked = texts(["1+2=", "3*4="], n=3, seed=7, **warm)
        _, said, _ = await post(running, asked, TEXTS)
        found = [choice["text"] for choice in said["choices"]]
        assert len(set(found)) == 6
        assert said["foretoken"]["seed"] == 7
        assert said["usage"]["prompt_tokens"] == 10
        for p, prompt in enumerate(("1+2=", "3*4=")):
            for i in range(3):
                one = texts(prompt, seed=7 + i, **warm)
                _, said, _ = await post(running, one, TEXTS)
                assert said["choices"][0]["text"] == found[3 * p + i]
        # Without a seed answers differ, and the seed that is told gives the same again.
        some = [(await post(running, texts(**warm), TEXTS))[1] for _ in range(4)]
        assert len({each["choices"][0]["text"] for each in some}) > 1
        again = texts(seed=some[0]["foretoken"]["seed"], **warm)
        _, said, _ = await post(running, again, TEXTS)
        assert said["choices"] == some[0]["choices"]


@awaited
async def test_answers_end_before_texts_to_stop_at(registry):
    async with port(registry) as running:
        whole = (await post(running, texts(max_tokens=12), TEXTS))[1]["choices"][0]["text"]
        for stop in (whole[4:6], [whole[4:6], "no"]):
            _, said, _ = await post(running, texts(max_tokens=12, stop=stop), TEXTS)
            (choice,) = said["choices"]
            assert choice["text"] == whole[: whole.index(whole[4:6])]
            assert choice["finish_reason"] == "stop"


@awaited
async def test_log_probabilities_of_a_completion(registry):
    async with port(registry) as running:
        _, said, _ = await post(running, texts(max_tokens=5, logprobs=3), TEXTS)
        (choice,) = said["choices"]
        told = choice["logprobs"]
        assert "".join(told["tokens"]).startswith(choice["text"])
        assert told["text_offset"] == [sum(map(len, told["tokens"][:i])) for i in range(5)]
        ids = list(IDS)
        made, _ = model()
        for i, token in enumerate(told["tokens"]):
            with torch.no_grad():
                spread = made(torch.tensor([ids]))[0, -1].log_softmax(-1)
            values, likeliest = (each.tolist() for each in spread.topk(3))
            names = [VOCABULARY.tokens[j] for j in likeliest]
            wanted = dict(zip(names, values, strict=True))
            assert told["top_logprobs"][i] == pytest.approx(wanted, abs=1e-4)
            assert told["token_logprobs"][i] == told["top_logprobs"][i][token]
            ids.append(int(spread.argmax()))
        _, said, _ = await post(running, texts(max_tokens=2, logprobs=0, n=2), TEXTS)
        for choice in said["choices"]:
            told = choice["logprobs"]
            assert [
                {t: p} for t, p in zip(told["tokens"], told["token_logprobs"], strict=True)
            ] == (told["top_logprobs"])


@awaited
async def test_a_model_without_a_tokenizer_answers_in_token_ids(registry):
    async with port(registry) as running:
        asked = {"model": "mute", "prompt": [1, 2, 3], "max_tokens": 3, "logprobs": 1}
        _, said, _ = await post(running, asked, TEXTS)
        wanted = [f"token_id:{i}" for i in greedy([1, 2, 3], 3)]
        assert (said["choices"][0]["text"], said["choices"][0]["logprobs"]["tokens"]) == (
            "",
            wanted,
        )


@awaited
async def test_a_chat_goes_through_the_model_s_template(registry):
    async with port(registry) as running:
        said_before = [("user", "1+2="), ("assistant", "3"), ("user", "4+5=")]
        status, said, headers = await post(running, chats(*said_before, max_tokens=6), CHATS)
        assert status == 200
        ids = chat_ids(*said_before)
        wanted = greedy(ids, 6)
        assert said["object"] == "chat.completion"
        assert said["id"] == f"chatcmpl-{headers['x-request-id']}"
        (choice,) = said["choices"]
        text = VOCABULARY.decode(wanted)
        assert choice["message"] == {"role": "assistant", "content": text}
        assert said["usage"]["prompt_tokens"] == len(ids), "special tokens are there once"
        assert list(choice) == ["index", "message", "logprobs", "finish_reason"]


@awaited
async def test_a_chat_has_the_rest_of_the_model_unless_it_is_told(registry):
    async with port(registry) as running:
        room = 64 - len(chat_ids(("user", "1+2=")))
        _, said, _ = await post(running, chats(stop="<nothing>"), CHATS)
        wanted = greedy(chat_ids(("user", "1+2=")), room)
        assert said["usage"]["completion_tokens"] == len(wanted)
        for name in ("max_tokens", "max_completion_tokens"):
            _, said, _ = await post(running, chats(**{name: 2}), CHATS)
            assert said["usage"]["completion_tokens"] == 2


@awaited
async def test_log_probabilities_variables_and_parts_of_a_chat(registry):
    async with port(registry) as running:
        asked = chats(max_tokens=3, logprobs=True, top_logprobs=2)
        _, said, _ = await post(running, asked, CHATS)
        (choice,) = said["choices"]
        content = choice["logprobs"]["content"]
        assert [len(each["top_logprobs"]) for each in content] == [2, 2, 2]
        for each in content:
            best = each["top_logprobs"][0]
            assert {name: each[name] for name in best} == best
            assert bytes(each["bytes"]).decode() == each["token"]
        # The template reads a variable, and parts of a message become lines of one text.
        plain = (await post(running, chats(max_tokens=8), CHATS))[1]
        given = {"chat_template_kwargs": {"sign": "="}, "max_tokens": 8}
        other = (await post(running, chats(**given), CHATS))[1]
        assert other["choices"][0]["message"] != plain["choices"][0]["message"]
        parts = chats(max_tokens=8)
        parts["messages"][0]["content"] = [{"type": "text", "text": "1+2="}]
        again = (await post(running, parts, CHATS))[1]
        assert again["choices"] == plain["choices"]


# -- streams --------------------------------------------------------------------------------------


@awaited
async def test_a_streamed_completion_is_the_same_in_parts(registry):
    async with port(registry) as running:
        asked = texts(["1+2=", "3*4="], n=2, seed=3, temperature=1.0, max_tokens=9, logprobs=1)
        _, whole, _ = await post(running, asked, TEXTS)
        events = await streamed(running, asked, TEXTS)
        assert {kind for kind, _ in events} == {""}
        *parts, done = [said for _, said in events]
        assert done == "[DONE]"
        assert len(parts) > 20, "each token is told by itself"
        assert {(part["object"], part["model"]) for part in parts} == {
            ("text_completion", "sums:1")
        }
        assert len({(part["id"], part["created"]) for part in parts}) == 1
        for i, choice in enumerate(whole["choices"]):
            own = [part["choices"][0] for part in parts if part["choices"][0]["index"] == i]
            assert "".join(each["text"] for each in own) == choice["text"]
            assert [each["finish_reason"] for each in own[:-1]] == [None] * (len(own) - 1)
            assert own[-1]["finish_reason"] == choice["finish_reason"]
            for name in ("tokens", "text_offset"):
                told = [x for each in own[:-1] for x in each["logprobs"][name]]
                assert told == choice["logprobs"][name]
        assert [("foretoken" in part) for part in parts] == [False] * (len(parts) - 1) + [True]
        assert parts[-1]["foretoken"]["chain"] == [0, 1, 2]
        assert all("usage" not in part for part in parts)


@awaited
async def test_a_streamed_chat_begins_with_its_role_and_ends_with_what_was_used(registry):
    async with port(registry) as running:
        _, whole, _ = await post(running, chats(max_tokens=6), CHATS)
        asked = chats(max_tokens=6, stream_options={"include_usage": True})
        *parts, done = [said for _, said in await streamed(running, asked, CHATS)]
        assert done == "[DONE]"
        assert {part["object"] for part in parts} == {"chat.completion.chunk"}
        first, *middle, last, used = parts
        assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        text = "".join(part["choices"][0]["delta"]["content"] for part in middle)
        assert text == whole["choices"][0]["message"]["content"]
        assert last["choices"][0]["delta"] == {}
        assert last["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
        cached = {"prompt_tokens_details": {"cached_tokens": 16}}  # since it was asked before
        assert (used["choices"], used["usage"]) == ([], whole["usage"] | cached)
        assert all(part["usage"] is None for part in parts[:-1])


# -- refusals -------------------------------------------------------------------------------------

BAD_TEXTS = [
    ({"prompt": "1"}, "model", "registered model"),
    (texts(None), "prompt", "a string, a list"),
    (texts([]), "prompt", "at least one"),
    (texts([[]]), "prompt", "a string, a list"),
    (texts([["a"]]), "prompt", "integers of 0 or more"),
    (texts([1, -2]), "prompt", "integers of 0 or more"),
    (texts([1, 99]), None, "tokens are 0 to"),
    (texts(3), "prompt", "a string, a list"),
    (texts("é"), None, "cannot be told in this model's tokens"),
    (rb'{"model": "sums", "prompt": "\ud800"}', None, "not Unicode"),
    (texts("1" * 49), None, "a prompt of 50 tokens and an answer of 16 come to 66"),
    (texts(max_tokens=64), None, "64"),
    (texts(max_tokens=0), "max_tokens", "1 to"),
    (texts(max_tokens=True), "max_tokens", "an integer"),
    (texts(max_completion_tokens=3), "max_completion_tokens", "no field"),
    (texts(chain=[]), None, "a chain has 1 to 12 layers, not 0"),
    (texts(chain=[0] * 13), None, "a chain has 1 to 12 layers, not 13"),
    (texts(chain=[0, 3]), None, "chain position 1 is 3; layers are 0 to 2"),
    (texts(chain=[-1]), None, "layers are 0 to 2"),
    (texts(chain=[0.0]), "chain", "a list of layers' numbers"),
    (texts(chain="0"), "chain", "a list of layers' numbers"),
    (texts(temperature=-1), "temperature", "0 or more"),
    (texts(temperature="hot"), "temperature", "0 or more"),
    (b'{"model": "sums", "prompt": "1", "temperature": NaN}', "temperature", "0 or more"),
    (texts(top_p=0), "top_p", "above 0 and at most 1"),
    (texts(top_k=-1), "top_k", "an integer of 0 or more"),
    (texts(top_k=1.5), "top_k", "an integer of 0 or more"),
    (texts(min_p=2), "min_p", "0 to 1"),
    (texts(repetition_penalty=0), "repetition_penalty", "above 0"),
    (texts(seed=-1), "seed", "2^64"),
    (texts(seed=1.0), "seed", "an integer"),
    (texts(seed=(1 << 64) - 1, n=2), "seed", "so that 2 choices"),
    (texts(stop=""), "stop", "none of them empty"),
    (texts(stop=["a"] * 17), "stop", "up to 16"),
    (texts(logprobs=21), "logprobs", "0 to 20"),
    (texts(logprobs=True), "logprobs", "an integer"),
    (texts(n=0), "n", "1 to 128"),
    (texts(["1", "2"], n=65), "n", "130 choices are more"),
    (texts(stream="yes"), "stream", "true or false"),
    (texts(stream_options={"include_usage": True}), "stream_options", "stream: true"),
    (texts(stream=True, stream_options={"other": 1}), "stream_options", "include_usage"),
    (texts(echo=True), "echo", "not supported"),
    (texts(suffix="b"), "suffix", "not supported"),
    (texts(best_of=3), "best_of", "not supported"),
    (texts(frequency_penalty=0.5), "frequency_penalty", "not supported"),
    (texts(presence_penalty=0.5), "presence_penalty", "not supported"),
    (texts(logit_bias={"5": 1}), "logit_bias", "not supported"),
    (texts(messages=[]), "messages", "no field 'messages'"),
    ({"model": "mute", "prompt": "1"}, None, "no tokenizer; give the prompt as token ids"),
    ({"model": "mute", "prompt": [1], "stop": "a"}, None, "no text to stop at"),
]
BAD_CHATS = [
    ({"model": "sums"}, "messages", "at least one"),
    (chats() | {"messages": []}, "messages", "at least one"),
    (chats() | {"messages": ["hi"]}, "messages", "message 0 is an object"),
    (chats() | {"messages": [{"content": "1"}]}, "messages", "message 0 has no role"),
    (chats() | {"messages": [{"role": "user"}]}, "messages", "content is a string"),
    (chats(("user", [])), "messages", "content is a string"),
    (chats(("user", [{"type": "image_url"}])), "messages", "only parts of type 'text'"),
    (chats() | {"messages": [{"role": "user", "content": "1", "x": 1}]}, "messages", "field 'x'"),
    (
        chats() | {"messages": [{"role": "user", "content": "1", "tool_calls": [{}]}]},
        "messages",
        "tool_calls is not supported",
    ),
    (chats(("system", "be")), None, "refuses this conversation: systems are unknown"),
    (chats(("user", "é")), None, "cannot be told in this model's tokens"),
    (chats(("user", "1" * 60)), None, "positions for 64"),
    (chats(chat_template_kwargs=3), "chat_template_kwargs", "an object"),
    (chats(chat_template_kwargs={"sign": 3}, chain=[9]), None, "layers are 0 to 2"),
    (chats(max_tokens=3, max_completion_tokens=4), "max_tokens", "give one"),
    (chats(top_logprobs=2), "top_logprobs", "logprobs: true"),
    (chats(logprobs=2), "logprobs", "true or false"),
    (chats(tools=[{"type": "function"}]), "tools", "not supported"),
    (chats(tool_choice="auto"), "tool_choice", "not supported"),
    (chats(response_format={"type": "json_object"}), "response_format", "not supported"),
    (chats(prompt="1"), "prompt", "no field 'prompt'"),
    (chats() | {"model": "bare"}, None, "no chat template; give the prompt as one text"),
    (chats() | {"model": "mute"}, None, "no tokenizer"),
]


@pytest.mark.parametrize(
    ("path", "said", "param", "told"),
    [*((TEXTS, *each) for each in BAD_TEXTS), *((CHATS, *each) for each in BAD_CHATS)],
)
def test_what_is_not_acceptable(registry, path, said, param, told):
    async def answer(said):
        async with port(registry) as running:
            return await post(running, said, path)

    status, body, headers = asyncio.run(answer(said))
    assert status == 400, body
    error = body["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, None)
    assert told in error["message"]
    assert headers["x-should-retry"] == "false"
    if isinstance(said, dict) and param not in ("stream", "stream_options"):
        asked = {**said, "stream": True}
        assert asyncio.run(answer(asked))[:2] == (400, body), "what is refused is no stream"


@awaited
async def test_fields_that_ask_for_nothing_are_as_good_as_none(registry):
    async with port(registry) as running:
        plain = (await post(running, texts(max_tokens=4), TEXTS))[1]["choices"]
        nothing = {
            "best_of": 1,
            "echo": False,
            "suffix": None,
            "logit_bias": {},
            "frequency_penalty": 0.0,
        }
        nothing |= {
            "presence_penalty": 0,
            "n": None,
            "stop": None,
            "seed": None,
            "user": "me",
            "logprobs": None,
        }
        said = (await post(running, texts(max_tokens=4, **nothing), TEXTS))[1]
        assert said["choices"] == plain
        plain = (await post(running, chats(max_tokens=4), CHATS))[1]["choices"]
        nothing = {
            "tools": [],
            "tool_choice": "none",
            "response_format": {"type": "text"},
            "store": False,
        }
        nothing |= {
            "parallel_tool_calls": True,
            "temperature": None,
            "chain": None,
            "logprobs": False,
        }
        said = (await post(running, chats(max_tokens=4, **nothing), CHATS))[1]
        assert said["choices"] == plain


@awaited
async def test_models_of_other_tasks_tenants_and_names(registry):
    async with port(registry) as running:
        for path, asked in ((TEXTS, texts(max_tokens=1)), (CHATS, chats(max_tokens=1))):
            for name in ("theirs", "nobody", "sums:7"):
                status, said, _ = await post(running, asked | {"model": name}, path)
                assert (status, said["error"]["code"]) == (404, "model_not_found")
            theirs = asked | {"model": "theirs"}
            status, said, _ = await post(running, theirs, path, authorization="Bearer ftk_good")
            assert (status, said["model"]) == (200, "theirs:1")
            status, said, _ = await post(running, asked, path, authorization="Bearer ftk_bad")
            assert (status, said["error"]["code"]) == (401, "invalid_api_key")
            status, said, _ = await post(running, asked, path, authorization="Bearer ftk_often")
            assert (status, said["error"]["code"]) == (429, "rate_limit_exceeded")


@awaited
async def test_sizes_are_bounded(registry):
    limits = {"message_bytes": 4096, "text_bytes": 2048}
    async with port(registry, **limits) as running:
        status, said, _ = await post(running, texts("1" * 5000), TEXTS)
        assert (status, said["error"]["message"]) == (413, "a body has at most 4096 bytes")
        status, said, _ = await post(running, texts("1" * 2050), TEXTS)
        assert (status, "2048 (text_bytes)" in said["error"]["message"]) == (400, True)
        status, said, _ = await post(running, chats(("user", "1" * 2050)), CHATS)
        assert (status, "2048 (text_bytes)" in said["error"]["message"]) == (400, True)
        status, said, _ = await post(running, texts(["1"] * 129), TEXTS)
        assert (status, said["error"]["param"]) == (400, "prompt")
        assert "129 prompts are more than the 128" in said["error"]["message"]


@awaited
async def test_what_the_pool_has_no_room_for_is_refused(registry):
    async with port(registry, generation_bytes=1 << 16) as running:  # 64 blocks
        asked = texts(max_tokens=57, chain=[0, 1, 2] * 4)
        status, _, _ = await post(running, asked, TEXTS)
        assert status == 200
    async with port(registry, generation_bytes=1 << 16) as running:
        generator = (await running.plane.describe("sums")).generator
        generator.blocks.count = 40
        status, said, headers = await post(running, asked, TEXTS)
        assert (status, said["error"]["type"]) == (501, "server_error")
        assert "needs 48 blocks" in said["error"]["message"]
        assert headers["x-should-retry"] == "false"


@awaited
async def test_calls_are_logged_by_their_ends(registry, tmp_path):
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = Log(fd=fd, flush=0.01)
    async with port(registry, log=log) as running:
        await post(running, texts(max_tokens=2), TEXTS, **{"x-request-id": "mine"})
        events = await streamed(running, chats(max_tokens=2), CHATS, **{"x-request-id": "ours"})
        assert events[0][1]["id"] == "chatcmpl-ours"
        await post(running, texts(echo=True), TEXTS)
    log.close()
    os.close(fd)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    found = [(each["method"], each["code"], each["request_id"]) for each in records]
    assert found[:2] == [(TEXTS, "OK", "mine"), (CHATS, "OK", "ours")]
    assert [(each["model"], each["version"]) for each in records[:2]] == [("sums", 1)] * 2
    assert (records[2]["code"], records[2]["error"]) == ("INVALID_ARGUMENT", "BadField")
