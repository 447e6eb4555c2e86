"""The request logic of text encoders, with vectors that are made up."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.contract import Call, Host
from foretoken.models.layers.texts.options import Texts
from foretoken.models.layers.texts.predict import INLINE, PIECE, ROUND, TextPredictor
from foretoken.models.layers.texts.tokens import ByteTokens
from foretoken.models.tasks import TextRequest

LIMIT, W = 12, 8
TEXTS = Texts(
    LIMIT,
    W,
    dimensions=(8, 4, 2),
    prompts={"query": "Q: ", "document": ""},
    default_prompt="query",
)


def answer(asked: Call) -> dict[str, np.ndarray]:
    """Unit vectors that tell the tokens of each row apart."""
    made = []
    for ids, length in zip(asked.inputs["ids"], asked.inputs["length"], strict=True):
        assert not ids[length:].any()
        rng = np.random.default_rng([int(i) for i in ids[:length]])
        made.append(rng.standard_normal(W))
    vectors = np.array(made, np.float32)
    return {"embedding": vectors / np.linalg.norm(vectors, axis=1, keepdims=True)}


class Driven:
    """Drives a predictor by hand; ``rounds`` holds its calls, ``hosts`` counts work in threads."""

    def __init__(self, texts: Texts = TEXTS, together: int = 0) -> None:
        self.predictor = TextPredictor(ByteTokens(LIMIT), texts, together)
        self.rounds: list[list[Call]] = []
        self.hosts = 0

    def __call__(self, *texts, **options):
        steps = self.predictor.predict(TextRequest(texts, **options))
        sent = None
        try:
            while True:
                asked = steps.send(sent)
                if isinstance(asked, Host):
                    self.hosts += 1
                    sent = asked.work()
                else:
                    self.rounds.append(list(asked))
                    sent = [answer(call) for call in asked]
        except StopIteration as end:
            return end.value


def _ids(text):
    return ByteTokens(LIMIT).encode([text]).ids[0]


def test_each_text_is_a_call_of_one_row():
    driven = Driven()
    reply = driven("ab", "c", prompt="")
    (calls,) = driven.rounds
    assert [call.inputs["ids"].shape for call in calls] == [(1, 3), (1, 4)]  # short ones first
    assert [call.inputs["length"].tolist() for call in calls] == [[3], [4]]
    assert all(call.inputs[name].dtype == np.int64 for call in calls for name in call.inputs)
    np.testing.assert_array_equal(reply.tokens, [4, 3])
    assert reply.vectors.dtype == np.float32


def test_texts_share_calls_of_so_many_tokens_where_a_call_costs_more_than_a_text():
    texts = ["a" * n for n in (9, 1, 3, 2, 10, 0, 5)]
    driven = Driven(together=14)
    reply, wanted = driven(*texts, prompt=""), Driven()(*texts, prompt="")
    np.testing.assert_array_equal(reply.vectors, wanted.vectors)
    np.testing.assert_array_equal(reply.tokens, wanted.tokens)
    (calls,) = driven.rounds
    # Lengths with both ends: 2, 3, 4, 5, 7, 11, 12.
    assert [call.inputs["length"].tolist() for call in calls] == [[2, 3, 4], [5, 7], [11], [12]]
    assert all(call.inputs["ids"].size <= 14 for call in calls)
    assert all(call.inputs[name].dtype == np.int64 for call in calls for name in call.inputs)


def test_a_text_that_is_longer_than_a_calls_share_has_one_of_its_own():
    driven = Driven(together=4)
    driven("aaaaaa", "a", "aaaaa", prompt="")
    assert [call.inputs["ids"].shape for call in driven.rounds[0]] == [(1, 3), (1, 7), (1, 8)]


def test_equal_texts_are_computed_once_and_answered_each():
    driven = Driven()
    reply = driven("a", "bb", "a", "a", "bb")
    assert len(driven.rounds[0]) == 2
    assert (reply.vectors[[0, 2, 3]] == reply.vectors[0]).all()
    assert (reply.vectors[[1, 4]] == reply.vectors[1]).all()
    np.testing.assert_array_equal(reply.tokens, [6, 7, 6, 6, 7])


@pytest.mark.parametrize(
    ("asked", "text"),
    [("query", "Q: a"), (None, "Q: a"), ("document", "a"), ("", "a"), ("x ", "x a")],
)
def test_prompts_are_named_or_free(asked, text):
    driven = Driven()
    driven("a", prompt=asked)
    np.testing.assert_array_equal(driven.rounds[0][0].inputs["ids"][0], _ids(text))


@pytest.mark.parametrize("d", [8, 4, 2])
def test_shorter_vectors_are_beginnings_of_length_one(d):
    whole, short = Driven()("a", "b"), Driven()("a", "b", dimensions=d)
    assert short.vectors.shape == (2, d)
    np.testing.assert_allclose(np.linalg.norm(short.vectors, axis=1), 1, rtol=1e-6)
    shares = short.vectors / whole.vectors[:, :d]
    np.testing.assert_allclose(shares, shares[:, :1].repeat(d, 1), rtol=1e-5)


@pytest.mark.parametrize("d", [3, 7, 9, 1 << 40])
def test_other_dimensions_are_refused_with_those_accepted(d):
    with pytest.raises(InvalidInput, match=rf"{d}.*8, 4, 2"):
        Driven()("a", dimensions=d)


def test_a_model_that_was_not_trained_for_it_cuts_no_vectors():
    only = Driven(Texts(LIMIT, W, dimensions=(W,)))
    assert only("a", dimensions=W).vectors.shape == (1, W)
    with pytest.raises(InvalidInput, match="not trained"):
        only("a", dimensions=4)


def test_what_is_too_long_is_cut_and_told():
    reply = Driven()("abc", "a" * 30, prompt="")
    np.testing.assert_array_equal(reply.tokens, [5, LIMIT])
    np.testing.assert_array_equal(reply.cut, [0, 20])


def test_what_is_too_long_is_refused_where_that_is_asked_for():
    driven = Driven()
    with pytest.raises(InvalidInput, match=r"text 2 has 32 tokens.*at most 12.*last 20"):
        driven("abc", "abc", "a" * 30, prompt="", truncate="error")
    assert driven.rounds == []  # nothing was computed for it
    assert driven("a" * 10, prompt="", truncate="error").cut.tolist() == [0]


@pytest.mark.parametrize(
    ("texts", "options", "named"),
    [
        (("a", "b\ud800"), {}, "text 1.*character 1"),
        (("\udcff",), {}, "text 0.*character 0"),
        (("a",), {"prompt": "\udfff"}, "the prompt.*character 0"),
    ],
)
def test_lone_surrogates_are_refused(texts, options, named):
    with pytest.raises(InvalidInput, match=named):
        Driven()(*texts, **options)


def test_a_large_request_is_encoded_in_threads_and_computed_in_rounds():
    driven = Driven()
    texts = [f"{i:05d}" for i in range(ROUND * 3)]
    reply = driven(*texts)
    assert [len(calls) for calls in driven.rounds] == [ROUND] * 3
    assert driven.hosts == 1
    few = Driven()
    np.testing.assert_array_equal(few(*texts[:9]).vectors, reply.vectors[:9])
    assert few.hosts == 0


def test_very_long_texts_are_encoded_piece_by_piece():
    driven = Driven()
    texts = ["a" * (PIECE - 10), "b" * 30, "c", "d" * 3 * PIECE, "e", "f"]
    reply = driven(*texts, prompt="")
    assert driven.hosts == 4
    np.testing.assert_array_equal(reply.tokens + reply.cut, [len(text) + 2 for text in texts])


def test_lengths_rise_so_that_batches_need_little_padding():
    driven = Driven()
    rng = np.random.default_rng(0)
    texts = [f"{i}" + "x" * int(rng.integers(0, 6)) for i in range(2 * ROUND)]
    driven(*texts, prompt="")
    lengths = [call.inputs["ids"].shape[1] for calls in driven.rounds for call in calls]
    assert lengths == sorted(lengths)


def test_requests_share_nothing():
    driven = Driven()
    wanted = driven("a", "bb").vectors
    made = []
    threads = [threading.Thread(target=lambda: made.append(Driven()("a", "bb"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(reply.vectors, wanted) for reply in made)


@pytest.mark.parametrize("size", [INLINE, INLINE + 1])
def test_little_is_encoded_at_once(size):
    driven = Driven()
    driven("a" * size, prompt="")
    assert driven.hosts == (size > INLINE)
