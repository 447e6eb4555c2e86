"""From requests to continuations: what is the model's own, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.cola import FAMILY
from foretoken.models.cola.predict import ColaPredictor
from foretoken.models.cola.vocabulary import BOS, EOS, VOCABULARY
from foretoken.models.contract import Host
from foretoken.models.depth.requests import SearchRequest
from foretoken.models.depth.verifiers import Exact
from foretoken.models.generation import Chat, Continuation, Sampling, Together
from foretoken.models.layers.texts.tokens import FILE
from foretoken.models.tasks import GenerationReply, GenerationRequest, ScoreRequest

SHAPE = {**FAMILY.small["shape"], "vocab": len(VOCABULARY)}
JSON = np.frombuffer(VOCABULARY.tokenizer_json(), np.uint8)
CONFIG = {**FAMILY.small, "shape": SHAPE, "tokenizer": len(JSON)}


def predictor(**generation):
    config = {**CONFIG, "generation": {"ends": [EOS], "sample": False, **generation}}
    return ColaPredictor(config, {FILE: JSON})


def asked(prompt="1+2=", most=4, **values):
    return predictor().continuation(GenerationRequest(prompt, most, **values))


def test_a_text_becomes_tokens_and_tokens_a_text():
    work = asked(stop=("7",), logprobs=3, ends=(5,))
    assert isinstance(work, Continuation)
    assert work.ids == tuple(VOCABULARY.encode("1+2="))
    assert work.ids[0] == BOS
    assert (work.chain, work.most, work.logprobs) == ((0, 1, 2), 4, 3)
    assert work.ends == {EOS, 5}
    read = [work.reader.read(VOCABULARY.id(c), last=False) for c in "3a7"]
    assert read == ["3", "a", ""]
    assert work.reader.stopped


def test_tokens_may_be_given_instead():
    assert asked(np.array([4, 5])).ids == (4, 5)
    assert asked(np.array([4], np.uint8), chain=(2, 2, 0)).chain == (2, 2, 0)


def test_each_continuation_has_a_reader_of_its_own():
    model, request = predictor(), GenerationRequest("1", 3)
    assert model.continuation(request).reader is not model.continuation(request).reader


def test_what_the_engine_answers_is_the_reply():
    steps = predictor().predict(GenerationRequest("1", 3))
    assert isinstance(next(steps), Continuation)
    reply = GenerationReply((), "length")
    with pytest.raises(StopIteration) as ended:
        steps.send(reply)
    assert ended.value.value is reply


@pytest.mark.parametrize(
    ("own", "given", "wanted"),
    [
        ({}, {}, Sampling(0.0, 0, 1.0, 0.0, 1.0)),
        ({"temperature": 0.6, "top_p": 0.9}, {}, Sampling(0.0, 0, 1.0, 0.0, 1.0)),
        ({"repetition_penalty": 1.1, "top_k": 9}, {}, Sampling(0.0, 0, 1.0, 0.0, 1.1)),
        ({"sample": True}, {}, Sampling(1.0, 0, 1.0, 0.0, 1.0)),
        (
            {"sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20},
            {"top_k": 0, "seed": 5},
            Sampling(0.6, 0, 0.9, 0.0, 1.0, 5),
        ),
        ({"sample": True, "temperature": 0.6}, {"temperature": 0}, Sampling(0, 0, 1.0, 0.0, 1.0)),
    ],
)
def test_what_a_request_leaves_open_is_as_the_folder_says(own, given, wanted):
    request = GenerationRequest("1", 3, Sampling(**given))
    assert predictor(**own).continuation(request).sampling == wanted


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": np.array([1, len(VOCABULARY)])}, r"the prompt holds 72; tokens are 0 to 71"),
        ({"prompt": np.array([-1])}, "the prompt holds -1"),
        ({"prompt": "1 é"}, "cannot be told in this model's tokens"),
        ({"most": 60}, "a prompt of 5 tokens and an answer of 60 come to 65; .* 64"),
        ({"prompt": np.ones(64, int), "most": 1}, "come to 65"),
        ({"chain": ()}, "1 to 12 layers, not 0"),
        ({"chain": (0,) * 13}, "1 to 12 layers, not 13"),
        ({"chain": (0, 3)}, "chain position 1 is 3; layers are 0 to 2"),
        ({"chain": (-1,)}, "chain position 0 is -1"),
        ({"ends": (99,)}, "ends holds 99"),
    ],
)
def test_bad_requests_are_refused(values, message):
    with pytest.raises(InvalidInput, match=message):
        asked(**values)


def test_a_conversation_becomes_the_tokens_that_its_template_writes():
    template = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}{% endfor %}"
    chat = {"template": template, "bos_token": "<s>", "eos_token": "</s>"}
    generation = {"ends": [EOS], "sample": False}
    model = ColaPredictor({**CONFIG, "generation": generation, "chat": chat}, {FILE: JSON})
    request = GenerationRequest(Chat(({"role": "user", "content": "1+2="},)), None)
    work = model.continuation(request)
    assert list(work.ids) == VOCABULARY.encode("user:1+2="), "special tokens are there once"
    assert work.most == CONFIG["positions"] - len(work.ids), "it may have the rest"
    steps = model.predict(request)
    host = next(steps)
    assert isinstance(host, Host)  # templates take their time
    assert steps.send(host.work()).ids == work.ids
    with pytest.raises(InvalidInput, match="no chat template; give the prompt as one text"):
        predictor().continuation(request)
    broken = {**CONFIG, "generation": generation, "chat": {**chat, "template": "{% if %}"}}
    model = ColaPredictor(broken, {FILE: JSON})
    with pytest.raises(InvalidInput, match="the chat template cannot be read"):
        model.continuation(request)
    assert model.continuation(GenerationRequest("1", 1)).most == 1, "texts are continued"


def test_long_texts_are_read_elsewhere():
    steps = predictor().predict(GenerationRequest("1" * 3000, 1))
    host = next(steps)
    assert isinstance(host, Host)
    with pytest.raises(InvalidInput, match="a prompt of 3001 tokens"):
        host.work()


def test_long_texts_are_scored_and_searched_elsewhere():
    for request in (ScoreRequest("1" * 3000), SearchRequest("1" * 3000, Exact("2"))):
        host = next(predictor().predict(request))
        assert isinstance(host, Host)
        with pytest.raises(InvalidInput, match="3001 tokens"):
            host.work()


@pytest.mark.parametrize("most", [None, 4])
def test_a_search_reads_the_prompt_as_a_text_however_long_the_answer_may_be(monkeypatch, most):
    model, seen = predictor(), []
    written = model.written
    monkeypatch.setattr(model, "written", lambda *given: seen.append(given) or written(*given))
    request = GenerationRequest("1+2=", most, policy="search", verifier=Exact("3"))
    steps = model.predict(request)
    asked = next(steps)
    while isinstance(asked, Host):
        asked = steps.send(asked.work())
    assert isinstance(asked, Together)
    assert seen == [("1+2=", "3")], "how an answer is written may depend on the text before it"


def test_tokens_have_texts_special_ones_included():
    model = predictor()
    assert [model.piece(i) for i in range(len(VOCABULARY))] == list(VOCABULARY.tokens)
    assert ColaPredictor(FAMILY.small, {}).piece(3) is None


def test_without_a_tokenizer_there_are_tokens_alone():
    model = ColaPredictor(FAMILY.small, {})
    work = model.continuation(GenerationRequest(np.array([1]), 2))
    assert work.reader.read(3, last=True) == ""
    assert not work.reader.stopped
    with pytest.raises(InvalidInput, match="no tokenizer; give the prompt as token ids"):
        model.continuation(GenerationRequest("1", 2))
    with pytest.raises(InvalidInput, match="no text to stop at"):
        model.continuation(GenerationRequest(np.array([1]), 2, stop=("a",)))
    with pytest.raises(DataLoss, match=r"tokenizer\.json"):
        ColaPredictor(CONFIG, {})
