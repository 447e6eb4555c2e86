"""What answers are worth, and patterns that cannot hold up a server."""

from __future__ import annotations

import math
import time

import pytest

from foretoken.errors import InvalidInput
from foretoken.models.depth.verifiers import PATTERN, Confident, Exact, Matches, reward_of
from foretoken.models.tasks import GenerationReply, Token


def reply(text, *logprobs):
    tokens = tuple(Token(1, part, lp) for part, lp in zip(text, logprobs, strict=True))
    return GenerationReply(tokens, "stop")


def test_an_answer_is_worth_what_its_verifier_says():
    said = reply("42", math.log(0.5), math.log(0.125))
    assert reward_of(Matches("^4"), said) == 1
    assert reward_of(Matches("4$"), said) == 0
    assert reward_of(Confident(), said) == pytest.approx(0.25)
    assert reward_of(lambda text: text == "42", said) == 1
    assert reward_of(lambda text: len(text) / 8, said) == 0.25


@pytest.mark.parametrize("worth", [2, -0.1, math.nan])
def test_a_verifier_gives_a_share(worth):
    with pytest.raises(InvalidInput, match="a number of 0 to 1"):
        reward_of(lambda _text: worth, reply("4", 0.0))


def test_a_pattern_takes_time_in_proportion_to_the_text():
    hostile = Matches("^(a+)+$")
    began = time.process_time()
    assert not hostile("a" * 10_000 + "b")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "a" * (PATTERN + 1)])
def test_what_is_no_pattern_is_refused(pattern):
    with pytest.raises(InvalidInput, match=r"regular expression|at most") as refused:
        Matches(pattern)
    assert "b'" not in str(refused.value), "the reason is a text"


def test_an_exact_answer_is_not_empty():
    with pytest.raises(InvalidInput, match="must not be empty"):
        Exact("")
