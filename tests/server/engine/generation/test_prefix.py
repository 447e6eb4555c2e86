"""Blocks are shared by content, never copied, and change no answer."""

from __future__ import annotations

import pytest
import torch

from foretoken.errors import InternalError
from foretoken.server.engine.generation.blocks import Blocks
from foretoken.server.engine.generation.prefix import extended, roots
from tests.server.engine.generation import assert_uncached, continuation, generator

PROMPT = [7, 3, 9, 1, 4, 4, 0, 2, 8, 5, 11, 6, 13]  # three full blocks of 4 and one token


def answered(made, work, owner=""):
    one = made.add(work, owner)
    for _ in made.run():
        pass
    assert_uncached(work, one.answer)
    return one.reply


def test_the_same_prompt_and_chain_are_found_and_change_nothing():
    made = generator()
    before = [answered(made, continuation(PROMPT, c, 6)) for c in ((0, 1, 2, 3), (0, 1, 1, 3))]
    assert [reply.reused for reply in before] == [0, 0]
    after = [answered(made, continuation(PROMPT, c, 6)) for c in ((0, 1, 2, 3), (0, 1, 1, 3))]
    assert [reply.reused for reply in after] == [12, 12]
    for a, b in zip(before, after, strict=True):
        assert [t.id for t in a.tokens] == [t.id for t in b.tokens]
        for x, y in zip(a.tokens, b.tokens, strict=True):
            assert x.logprob == pytest.approx(y.logprob, abs=1e-5)
    assert made.blocks.free == made.blocks.count


def test_a_prompt_that_is_all_there_is_computed_from_its_last_token():
    made = generator()
    answered(made, continuation(PROMPT[:12], most=3))
    turns = made.turns
    assert answered(made, continuation(PROMPT[:12], most=1)).reused == 11
    assert made.turns - turns == 5  # four layers and the head, once


def test_an_answer_is_a_prefix_of_the_next_prompt():
    made = generator()
    first = answered(made, continuation(PROMPT, most=8))
    longer = [*PROMPT, *(t.id for t in first.tokens), 5]
    assert answered(made, continuation(longer)).reused == 20  # the last answered token was not run


@pytest.mark.parametrize(
    ("prompt", "chain", "owner", "reused"),
    [
        ([*PROMPT[:9], 0, *PROMPT[10:]], (0, 1, 2, 3), "", 8),  # another token in the third block
        ([0, *PROMPT[1:]], (0, 1, 2, 3), "", 0),
        (PROMPT, (1, 0, 2, 3), "", 0),
        (PROMPT, (0, 1, 2), "", 12),  # the beginning of the chain
        (PROMPT, (0, 1, 2, 3, 3), "", 0),  # its last position was never computed
        (PROMPT, (0, 1, 2, 3), "another", 0),
    ],
)
def test_what_is_shared_is_the_chain_and_the_tokens_up_to_there(prompt, chain, owner, reused):
    made = generator()
    answered(made, continuation(PROMPT))
    assert answered(made, continuation(prompt, chain), owner).reused == reused


def test_chains_that_begin_alike_lie_in_the_same_blocks():
    made = generator(chunk=32)
    one = made.add(continuation(PROMPT, (0, 1, 2, 3), 9))
    while not one.answer:
        made.turn()
    used = made.blocks.count - made.blocks.free
    own = one.tables[0][:3] + one.tables[1][:3]
    made.pool.keys[own] *= 1 + 1e-6  # so that writing the same once more would show
    kept = made.pool.keys.clone()
    two = made.add(continuation(PROMPT, (0, 1, 1), 9))
    while not two.answer:
        made.turn()
    assert two.tables[0][:3] == one.tables[0][:3]
    assert two.tables[1][:3] == one.tables[1][:3]
    assert not set(two.tables[2]) & {b for t in one.tables for b in t}
    assert made.blocks.count - made.blocks.free <= used + 3 * 4 - 2 * 3 + 4
    assert torch.equal(made.pool.keys[own], kept[own]), "what is shared is never written"
    for _ in made.run():
        pass
    assert_uncached(one.work, one.answer)
    assert_uncached(two.work, two.answer)


def test_what_was_left_first_is_given_away_first():
    made = generator(blocks=30)
    for prompt in (PROMPT, [1] * 13, [2] * 13):  # 16 blocks each: the first loses some
        answered(made, continuation(prompt, most=1))
    assert answered(made, continuation([1] * 13, most=1)).reused == 12
    assert answered(made, continuation(PROMPT, most=1)).reused < 12
    assert made.blocks.free == 30


def test_digests_speak_for_all_before_them():
    one, two, three = [], [], []
    extended(one, [1, 2, 3, 4, 5], 2)
    extended(two, [9, 2, 3, 4, 5], 2)
    extended(three, [1, 2, 3], 2)
    assert len(one) == 2
    assert not set(one) & set(two)
    extended(three, [1, 2, 3, 4], 2)  # grown later
    assert three == one
    assert roots((0, 1, 2))[:2] == roots((0, 1))
    assert len({*roots((0, 1, 0)), *roots((1, 0)), *roots((0, 1), "a")}) == 7


def test_books_of_blocks():
    books, key = Blocks(3), (b"chain", b"tokens")
    first, second = books.take(2)
    assert books.free == 1
    books.publish(first, key)
    books.publish(second, key)  # the first stays the one that is found
    assert books.find(key) == first
    books.release([first, second])
    assert books.free == 2
    books.release([first])
    assert books.free == 3
    assert books.find(key) == first
    assert books.free == 2
    with pytest.raises(InternalError, match="of 2 free ones"):
        books.take(3)
    books.release([first])
    assert set(books.take(3)) == {1, 2, 3}
    assert books.find(key) is None
    with pytest.raises(InternalError, match="released by nobody"):
        books.release([0])
