"""The layer that most need runs next, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from foretoken.server.engine.generation.decoding import Decoding
from foretoken.server.engine.generation.scheduler import Scheduler
from tests.server.engine.generation import continuation

HEAD = 4


def decodings(*chains, count=1):
    made = []
    for i, chain in enumerate(chains):
        one = Decoding(continuation([1] * count, chain), i, 4)
        one.pass_on(count)
        made.append(one)
    return made


def test_most_go_first_and_of_equally_many_the_lowest_layer():
    scheduler = Scheduler(HEAD, 100, 100)
    ongoing = decodings((3, 1), (1,), (3,), (0,))
    assert scheduler.choose(ongoing) == (3, [ongoing[0], ongoing[2]])
    ongoing[0].at = ongoing[2].at = 1
    # The second layer of one chain, the first of another; who waited longer stands first.
    assert scheduler.choose(ongoing) == (1, [ongoing[1], ongoing[0]])
    ongoing[0].at = 2
    assert scheduler.needs(ongoing[0]) == HEAD
    assert scheduler.choose(ongoing) == (HEAD, [ongoing[2], ongoing[0]])
    ongoing[0].at = 0
    assert scheduler.choose(ongoing)[0] == 0


def test_a_batch_has_so_many_tokens_and_whoever_waited_longest_is_in_it():
    scheduler = Scheduler(HEAD, 7, 100)
    ongoing = decodings((0,), (0,), (0,), count=3)
    assert scheduler.choose(ongoing) == (0, ongoing[:2])
    assert scheduler.choose(ongoing) == (0, [ongoing[2], ongoing[0]])
    large = decodings((0,), count=30)
    assert scheduler.choose(large) == (0, large)


@given(
    chains=st.lists(
        st.lists(st.integers(0, HEAD - 1), min_size=1, max_size=6), min_size=1, max_size=12
    ),
    tokens=st.integers(1, 20),
    patience=st.integers(1, 12),
)
def test_nobody_waits_longer_than_is_said(chains, tokens, patience):
    scheduler = Scheduler(HEAD, tokens, patience)
    ongoing, worst = decodings(*chains, count=3), 0
    for _ in range(300):
        layer, batch = scheduler.choose(ongoing)
        assert batch
        assert all(scheduler.needs(one) == layer for one in batch)
        for one in batch:
            one.at = (one.at + 1) % (len(one.work.chain) + 1)
        worst = max(worst, *(one.waited for one in ongoing))
    assert worst < patience + len(ongoing)


def test_without_patience_a_lonely_layer_would_wait_for_ever():
    crowd = decodings((0, 0, 0, 0), (0, 0, 0, 0), (1, 1))
    for patience, longest in ((1000, 300), (5, 6)):
        scheduler, worst = Scheduler(HEAD, 100, patience), 0
        for one in crowd:
            one.at = one.waited = 0
        for _ in range(300):
            _, batch = scheduler.choose(crowd)
            for one in batch:
                one.at = (one.at + 1) % len(one.work.chain)  # never at the head, where all meet
            worst = max(worst, crowd[2].waited)
        assert worst <= longest
        assert worst == 300 or patience == 5
