"""What is drawn is what transformers would draw from, and depends on the request alone."""

from __future__ import annotations

import math

import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.generation import Sampling
from foretoken.server.engine.generation.sampling import Row, filtered, sample, uniform
from tests.server.engine.generation import continuation, generator

FILTERS = [
    {"top_k": 5},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"top_k": 9, "top_p": 0.8, "min_p": 0.05, "temperature": 0.6},
    {"temperature": 1.7},
    {"top_k": 1000, "top_p": 1.0},
    {"top_k": 1},
    {"top_p": 1e-9},
    {"min_p": 1.0},
]


def full(**values):
    return Sampling(**{"temperature": 1.0, **values}).over({})


@pytest.fixture
def logits():
    return 3 * torch.randn(6, 40, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("values", FILTERS, ids=str)
def test_filters_are_those_of_transformers(logits, values):
    made = pytest.importorskip("transformers.generation.logits_process")
    sampling = full(**values)
    scores = logits / sampling.temperature
    if sampling.top_k:
        scores = made.TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = made.TopPLogitsWarper(sampling.top_p)(None, scores)
    if sampling.min_p:
        scores = made.MinPLogitsWarper(sampling.min_p)(None, scores)
    shares = filtered(logits, [sampling] * len(logits))
    shares = shares / shares.sum(-1, keepdim=True)
    torch.testing.assert_close(shares.float(), scores.softmax(-1), rtol=1e-5, atol=1e-6)


def test_the_penalty_is_that_of_transformers(logits):
    made = pytest.importorskip("transformers.generation.logits_process")
    seen = [[3, 3, 7], [int(row.argmax()) for row in logits]]
    for tokens in seen:
        wanted = made.RepetitionPenaltyLogitsProcessor(1.8)(
            torch.tensor([tokens] * len(logits)), logits
        )
        asked = Sampling(repetition_penalty=1.8).over({})
        drawn = sample(logits, [Row(asked, tokens)] * len(logits))
        assert [d.token for d in drawn] == wanted.argmax(-1).tolist()
    assert [d.token for d in drawn] != logits.argmax(-1).tolist()


def test_rows_of_a_batch_have_filters_of_their_own(logits):
    settings = [full(**values) for values in FILTERS[:6]]
    together = filtered(logits, settings)
    for i, one in enumerate(settings):
        torch.testing.assert_close(together[i : i + 1], filtered(logits[i : i + 1], [one]))


@pytest.mark.parametrize("temperature", [1e-30, 5e-324])
def test_the_lowest_temperatures_take_the_likeliest_token(logits, temperature):
    rows = [Row(full(temperature=temperature, seed=seed), [1]) for seed in range(6)]
    assert [drawn.token for drawn in sample(logits, rows)] == logits.argmax(-1).tolist()


def test_tokens_come_as_often_as_they_should():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -30.0]])
    count, n = torch.zeros(5), 4000
    for seed in range(n):
        (drawn,) = sample(logits, [Row(full(seed=seed), [1])])
        count[drawn.token] += 1
    shares = logits[0].softmax(-1)
    assert ((count / n - shares).abs() < 4 * (shares * (1 - shares) / n).sqrt() + 1e-9).all()


def test_what_is_drawn_is_of_the_seed_and_the_position():
    drawn = {uniform(seed, position) for seed in (0, 1, 2**64 - 1) for position in range(100)}
    assert len(drawn) == 300
    assert all(0 <= each < 1 for each in drawn)
    assert uniform(5, 7) == uniform(5, 7)


def test_logprobs_are_of_the_raw_logits(logits):
    asked = full(temperature=0.3, top_k=2, repetition_penalty=5.0, seed=4)
    for drawn, row in zip(sample(logits, [Row(asked, [1, 2], 3)] * 6), logits, strict=True):
        spread = row.log_softmax(-1)
        assert drawn.logprob == pytest.approx(float(spread[drawn.token]))
        assert drawn.likeliest == tuple(
            (int(i), pytest.approx(float(spread[i]))) for i in spread.argsort(descending=True)[:3]
        )
    assert sample(logits, [Row(asked, [1])] * 6)[0].likeliest == ()


def test_the_same_seed_says_the_same_in_any_batch():
    asked = [
        continuation([1, 2, 3], (0, 1, 2, 3), 12, temperature=1.0, seed=11),
        continuation([1, 2, 3], (0, 1, 2, 3), 12, temperature=1.0, seed=12),
        continuation([4] * 9, (0, 2, 2), 12, temperature=0.8, top_p=0.9, seed=11),
        continuation([5], (3, 1), 12, temperature=1.3, top_k=7, repetition_penalty=1.2),
    ]
    alone = []
    for work in asked:
        made = generator()
        one = made.add(work)
        for _ in made.run():
            pass
        alone.append([token.id for token in one.answer])
    assert alone[0] != alone[1]
    # In company, in another order, in small chunks, and preempted in between.
    made = generator(blocks=26, chunk=2)
    ongoing = {i: made.add(asked[i]) for i in (3, 0, 2, 1)}
    for _ in made.run():
        pass
    assert made.admission.preempted
    assert [[token.id for token in ongoing[i].answer] for i in range(4)] == alone


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature must be 0 or more"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"temperature": math.inf}, "temperature must be"),
        ({"temperature": "hot"}, "temperature must be"),
        ({"top_k": -1}, "top_k must be an integer"),
        ({"top_k": 1.5}, "top_k must be an integer"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"min_p": -0.1}, "min_p must be 0 to 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be above 0"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 2**64}, "seed must be"),
        ({"seed": 0.5}, "seed must be an integer"),
        ({"top_k": True}, "top_k must be"),
        ({"top_k": 10**400}, "top_k must be"),
        ({"temperature": 10**400}, "temperature must be"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_bad_sampling_is_refused(values, message):
    with pytest.raises(InvalidInput, match=message):
        Sampling(**values)


def test_what_is_left_open_is_the_models():
    asked = Sampling(top_k=3).over({"temperature": 0.5, "top_k": 9})
    assert asked == Sampling(0.5, 3, 1.0, 0.0, 1.0, 0)
