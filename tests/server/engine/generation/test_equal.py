"""Decoding in company, over blocks, is decoding alone without a cache."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.engine.generation import LAYERS, assert_uncached, continuation, generator

# Prompts that often begin alike, so that prefixes are shared.
PROMPTS = st.builds(
    lambda same, own: [*([7, 3] * 10)[:same], *own],
    st.integers(0, 20),
    st.lists(st.integers(0, 18), min_size=1, max_size=6),
)
CHAINS = st.one_of(
    st.lists(st.integers(0, LAYERS - 1), min_size=1, max_size=7),
    st.sampled_from([[0, 1, 2, 3], [0, 1, 1, 2, 3], [0, 1, 3], [3, 2, 1, 0]]),
)
REQUESTS = st.tuples(PROMPTS, CHAINS, st.integers(1, 8))


@settings(max_examples=60)
@given(
    asked=st.lists(st.tuples(REQUESTS, st.integers(0, 30)), min_size=1, max_size=6),
    cancelled=st.dictionaries(st.integers(0, 5), st.integers(0, 40), max_size=3),
    block=st.sampled_from([1, 16]),
    spare=st.integers(0, 40),
    chunk=st.integers(1, 9),
    tokens=st.integers(1, 30),
    active=st.integers(1, 6),
    patience=st.integers(1, 20),
)
def test_any_company_is_none(asked, cancelled, block, spare, chunk, tokens, active, patience):
    """Chains that skip, loop and reorder; arrivals, preemption and cancellation in between."""
    works = [(continuation(*request), arrival) for request, arrival in asked]
    # Just enough for the largest alone, and a little more: the others are preempted often.
    needed = [len(w.chain) * -(-(len(w.ids) + w.most) // block) for w, _ in works]
    sizes = {"block": block, "chunk": chunk, "tokens": tokens, "active": active}
    made = generator(blocks=max(needed) + spare, patience=patience, **sizes)
    ongoing, gone, turn = {}, set(), 0
    while made.busy or len(ongoing) < len(works):
        for i, (work, arrival) in enumerate(works):
            if arrival == turn:
                ongoing[i] = made.add(work)
            if cancelled.get(i) == turn and i in ongoing and not ongoing[i].finish:
                made.cancel(ongoing[i])
                gone.add(i)
        made.turn()
        assert all(one.waited < patience + active for one in made.admission.active)
        turn += 1
    assert made.blocks.free == made.blocks.count
    assert len(set(made.blocks.take(made.blocks.count))) == made.blocks.count
    for i, one in ongoing.items():
        assert_uncached(one.work, one.answer)
        if i not in gone:
            assert len(one.answer) == one.work.most
            assert one.finish == "length"


@pytest.mark.parametrize("block", [1, 16])
def test_requests_are_preempted_and_end_all_the_same(block):
    works = [continuation([i, 2, 3], c, 20) for i, c in enumerate([(0, 1, 2, 3), (0, 0, 3), (2,)])]
    # The first two have room as they begin, but not as they grow.
    made = generator(blocks=96 // block + 4, block=block)
    ongoing = [made.add(work) for work in works]
    for _ in made.run():
        pass
    assert made.admission.preempted > 0
    assert made.blocks.free == made.blocks.count
    for one in ongoing:
        assert_uncached(one.work, one.answer)
        assert len(one.answer) == 20


def test_whoever_begins_again_at_the_same_tokens_begins_at_the_first_layer():
    made = generator(blocks=3, patience=1)
    older = made.add(continuation([1, 2, 3, 4], (2,)))
    made.turn()
    younger = made.add(continuation([7, 8], (1, 0), 1))
    made.turn()
    assert younger.at == 1
    made.turn()
    assert (made.admission.preempted, len(older.answer)) == (1, 1)
    made.cancel(older)  # so that no layer runs for others before the younger one is back
    for _ in made.run():
        pass
    assert_uncached(younger.work, younger.answer)


def test_hundreds_are_cancelled_while_others_run():
    made = generator(blocks=800, active=32)
    kept = [made.add(continuation([i, 5], (0, 1, 1, 3), 12)) for i in range(5)]
    going = [made.add(continuation([i % 19] * (1 + i % 7), (0, 1, 2), 9)) for i in range(60)]
    for turn in range(10_000):
        if not made.busy:
            break
        made.turn()
        for i, one in enumerate(going):
            if i * 7 % 83 == turn:
                made.cancel(one)
    assert made.blocks.free == made.blocks.count
    assert sum(not one.finish for one in going) > 20
    for one in kept:
        assert one.finish == "length"
        assert_uncached(one.work, one.answer)
