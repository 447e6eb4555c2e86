"""How answers end, and what a generator refuses."""

from __future__ import annotations

import pytest

from foretoken.errors import InvalidInput, Overloaded, Unsupported
from foretoken.server.engine.generation.generator import Sizes
from tests.server.engine.generation import LAYERS, assert_uncached, continuation, generator


def finished(work, **sizes):
    made = generator(**sizes)
    one = made.add(work)
    heard = [token for _, token in made.run()]
    assert heard == one.answer
    assert made.blocks.free == made.blocks.count
    return one.reply


def test_an_answer_ends_at_a_token_that_ends_it():
    free = finished(continuation([1, 2], most=9))
    ids = [token.id for token in free.tokens]
    assert (free.finish, len(ids)) == ("length", 9)
    end = next(i for i in ids if i != ids[0])
    reply = finished(continuation([1, 2], most=9, ends=[end]))
    assert [t.id for t in reply.tokens] == ids[: ids.index(end) + 1]
    assert reply.finish == "stop"
    assert reply.tokens[-1].text == ".", "the end has no text of its own, but lets all be certain"
    assert reply.text == "".join(f"{i} " for i in ids[: ids.index(end)]) + "."


def test_an_answer_ends_where_its_reader_stops():
    ids = [token.id for token in finished(continuation([1, 2], most=9)).tokens]
    stop = next(i for i in ids if i != ids[0])
    reply = finished(continuation([1, 2], most=9, stop=stop))
    assert [t.id for t in reply.tokens] == ids[: ids.index(stop) + 1]
    assert reply.finish == "stop"


def test_a_reply_tells_the_chain_and_the_prompt():
    reply = finished(continuation([1, 2, 3], (2, 2), 1))
    assert (reply.chain, reply.prompt, reply.reused, reply.finish) == ((2, 2), 3, 0, "length")


def test_long_prompts_pass_in_chunks_between_others_tokens():
    made = generator(chunk=4, patience=8)
    short = made.add(continuation([1], most=20))
    while not short.answer:
        made.turn()
    long = made.add(continuation([2] * 40, most=2))
    before = len(short.answer)
    while not long.answer:
        made.turn()
    assert len(short.answer) - before >= 9, "ten chunks, a token after each"
    for _ in made.run():
        pass
    assert_uncached(short.work, short.answer)
    assert_uncached(long.work, long.answer)


def test_requests_are_admitted_in_order_of_arrival():
    made = generator(blocks=20, active=2)
    ongoing = [made.add(continuation([i] * 4, (0, 1), 3)) for i in range(5)]
    ended = [one for one, _ in made.run() if one.finish]
    assert [one.number for one in ended[::2]] == sorted(one.number for one in ended[::2])
    assert ended[-1] is ongoing[-1]


def test_what_does_not_fit_is_refused():
    made = generator(blocks=20, queue=2)
    with pytest.raises(Unsupported, match=r"needs 21 blocks .* has 20"):
        made.add(continuation([1] * 20, (0, 1, 2), 8))
    made.add(continuation([1], (0,), 8))
    made.add(continuation([1], (0,), 8))
    with pytest.raises(Overloaded, match="2 requests wait"):
        made.add(continuation([1], (0,), 8))
    with pytest.raises(InvalidInput, match="at least 1"):
        Sizes(blocks=0)


def test_cancelling_frees_blocks_at_once_wherever_a_request_is():
    made = generator(blocks=40, active=1)
    active, waiting = made.add(continuation([1] * 9)), made.add(continuation([2] * 9))
    for _ in range(3):
        made.turn()
    assert made.blocks.free < 40
    made.cancel(waiting)
    made.cancel(active)
    assert (made.blocks.free, made.busy) == (40, False)
    made.cancel(active)  # once more says nothing
    assert made.blocks.free == 40
    assert made.turn() == []


def test_a_generator_that_is_warm_has_run_every_layer_and_left_nothing():
    made = generator()
    made.warm()
    assert made.turns == 2 * (LAYERS + 1)
    assert made.blocks.free == made.blocks.count
    assert not made.busy
    with pytest.raises(Unsupported, match=f"needs {LAYERS} blocks"):
        generator(blocks=LAYERS - 1).warm()
