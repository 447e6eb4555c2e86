"""The tree search goes by its bound, chooses no chain twice, and finds what there is to find."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from foretoken.errors import InternalError, InvalidInput
from foretoken.models.depth import mcts
from foretoken.models.depth.chains import expect_chain, full
from foretoken.models.depth.mcts import TreeSearch, edits_of
from foretoken.models.depth.requests import SearchOptions


def run(layers, worth, together=1, **options):
    search = TreeSearch(layers, SearchOptions(together=together, **options))
    while chains := search.ask(together):
        for chain in chains:
            search.tell(chain, worth(chain))
    return search


def test_edits_are_all_chains_one_skip_or_repeat_away():
    found = edits_of((0, 1, 2), 2, 5)
    skips = {(1, 2), (0, 2), (0, 1), (2,), (0,)}
    repeats = {(0, 0, 1, 2), (0, 0, 0, 1, 2), (0, 1, 1, 2), (0, 1, 1, 1, 2), (0, 1, 2, 2)}
    repeats |= {(0, 1, 2, 2, 2), (0, 1, 0, 1, 2), (0, 1, 2, 1, 2)}
    assert len(found) == len(set(found))
    assert set(found) == skips | repeats


@pytest.mark.parametrize("together", [1, 7, 64])
@pytest.mark.parametrize("layers", [3, 8, 24])
def test_chains_come_once_the_whole_one_first(layers, together):
    search = run(layers, lambda chain: float(len(chain) % 2), together)
    chains = [tried.chain for tried in search.tried]
    assert chains[0] == full(layers)
    assert len(set(chains)) == len(chains) == search.simulations == 200
    assert all(expect_chain(chain, layers, 2 * layers) == chain for chain in chains)
    assert [tried.simulation for tried in search.tried] == list(range(200))


def test_a_search_ends_when_no_chain_is_left():
    assert {t.chain for t in run(1, lambda _: 0.0, longest=3).tried} == {(0,), (0, 0), (0, 0, 0)}
    every = {full(3)}
    while (more := every.union(*(edits_of(chain, 4, 5) for chain in every))) != every:
        every = more
    found = run(3, lambda _: 1.0, together=9, longest=5, simulations=1000).tried
    assert {t.chain for t in found} == every
    assert len(found) == len(every) > 50


def test_edits_are_listed_no_more_once_all_of_them_were_chosen(monkeypatch):
    vain = Counter()

    def listed(chain, *sizes):
        found = edits_of(chain, *sizes)
        vain[chain] += all(each in search._chosen for each in found)
        return found

    monkeypatch.setattr(mcts, "edits_of", listed)
    search = TreeSearch(2, SearchOptions(simulations=2000, longest=6, random_child=1.0))
    while chains := search.ask():
        search.tell(chains[0], 0.0)
    assert max(vain.values()) == 1


def test_the_seed_decides():
    def chains(seed):
        return [t.chain for t in run(6, lambda c: 1 / len(c), seed=seed).tried]

    assert chains(3) == chains(3) != chains(4)


@pytest.mark.parametrize(
    "right",
    [
        lambda chain: 3 not in chain,
        lambda chain: chain.count(5) > 1,
        lambda chain: chain.count(5) > 1 and 2 not in chain,
    ],
)
def test_what_is_asked_for_is_found(right):
    found = [run(8, lambda c: float(right(c)), seed=seed).reply.best for seed in range(20)]
    assert all(best.reward == 1.0 and right(best.chain) for best in found)


def test_where_nothing_is_right_the_whole_chain_is_best():
    assert run(5, lambda _: 0.0).reply.best.chain == full(5)


class Watched(TreeSearch):
    """Keeps count of visits and rewards by itself, and asks whether children are chosen by them."""

    chosen = 0

    def _likeliest(self, nodes):
        found = super()._likeliest(nodes)
        options, simulations = self.options, len(self.tried) + len(self._paths)

        def bound(node):
            through = [path for path in self.all if node in path]
            rewards = {t.chain: t.reward for t in self.tried}
            q = sum(rewards.get(path[-1].chain, 0.0) for path in through)
            v = len(through)
            assert v == node.visits
            explored = options.exploration * math.sqrt(math.log(simulations) / v)
            return q / v + explored - options.length_penalty * len(node.chain) / self.layers

        if open_ := [node for node in nodes if not node.closed]:
            assert bound(found) == pytest.approx(max(map(bound, open_)), abs=1e-12)
            self.chosen += 1
        else:
            assert found is None
        return found

    all = ()

    def ask(self, most=1):
        found = super().ask(most)
        self.all += tuple(self._paths[chain] for chain in found)
        return found


@pytest.mark.parametrize(("exploration", "penalty"), [(1.0, 5.0), (3.0, 0.5), (0.0, 0.0)])
def test_children_are_chosen_by_the_bound(exploration, penalty):
    rng = random.Random(1)
    options = SearchOptions(60, exploration, penalty, random_child=0.4)
    search = Watched(5, options)
    while chains := search.ask(1):
        search.tell(chains[0], rng.random())
    assert search.chosen > 60


def test_chains_under_way_count_as_visits():
    search = TreeSearch(8, SearchOptions(random_child=0.3, length_penalty=0.0))
    (whole,) = search.ask()
    search.tell(whole, 1.0)
    chains = search.ask(30)
    assert len(set(chains)) == 30
    root = search._root
    assert (root.visits, root.worth) == (31, 1.0)
    for chain in reversed(chains):
        search.tell(chain, 0.5)
    assert (root.visits, root.worth) == (31, 16.0)
    assert sum(child.visits for child in root.tried) == 30
    assert [tried.chain for tried in search.reply.tried] == [whole, *chains]


def test_only_what_was_asked_for_can_be_told():
    search = TreeSearch(4, SearchOptions())
    with pytest.raises(InternalError, match="was not asked for"):
        search.tell((0,), 1.0)
    (whole,) = search.ask()
    search.tell(whole, 0.0)
    with pytest.raises(InternalError, match="was not asked for"):
        search.tell(whole, 0.0)
    with pytest.raises(InvalidInput, match="leave out the whole one"):
        TreeSearch(4, SearchOptions(longest=3))
