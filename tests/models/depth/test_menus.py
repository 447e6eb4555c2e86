"""Menus hold the chains that answer most rows, and are measured on others; choosers learn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.models.depth.chooser import Chooser, features, fitted, worthwhile
from foretoken.models.depth.menus import Menu, agreed, candidates, chosen, figures, menu_of
from foretoken.models.depth.requests import SearchReply, Tried


def reply(**right):
    chains = {"a": (0, 1), "b": (0,), "c": (1,), "d": (0, 0, 1)}
    return SearchReply(2, tuple(Tried(chains[n], r, i) for i, (n, r) in enumerate(right.items())))


def test_candidates_are_right_for_most_rows_behind_the_whole_chain():
    found = [reply(a=0, b=1, c=1, d=1), reply(a=0, d=1, c=0), reply(a=1, b=0.4, c=1, d=1)]
    assert candidates(found, 9) == ((0, 1), (0, 0, 1), (1,), (0,))
    assert candidates(found, 2) == ((0, 1), (0, 0, 1))


def test_a_menu_answers_as_many_rows_as_it_can():
    chains = [(0, 1, 2), (0, 1), (0,), (2,), (1, 1, 1, 1)]
    right = np.array(
        [
            [1, 1, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 0, 1, 0, 0],
            [0, 0, 1, 0, 0],
            [0, 1, 0, 0, 0],
            [0, 0, 0, 0, 1],
        ],
        bool,
    )
    # The first two answer three rows each, and the shorter goes first; the third then answers two.
    assert chosen(chains, right, 5) == [1, 2, 4, 0]
    assert chosen(chains, right, 1) == [1]
    assert chosen(chains, np.zeros((6, 5), bool), 3) == [0]


def test_the_first_of_what_most_give_is_agreed_on():
    assert agreed(["x", "y", "z", "y"]) == 1
    assert agreed(["x", "y", "y", "x"]) == 0
    assert agreed(["x"]) == 0


def test_figures_are_shares_of_rows():
    right = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]], bool)
    answers = [["r", "w", "w"], ["w", "r", "r"], ["w", "v", "r"], ["u", "u", "v"]]
    found = figures(np.array([1, 0, 0, 0], bool), right, answers, [0, 0, 2, 1])
    assert found == {
        "plain": 0.25,
        "single": 0.25,
        "any": {"1": 0.25, "3": 0.75},
        "agreement": 0.25,
        "chooser": 0.5,
    }


def prompts(n, rng):
    """Half of them hold the token 5, and are answered by the second chain; others by the first."""
    marked = rng.random(n) < 0.5
    ids = [[*rng.integers(10, 20, 12).tolist(), 5 if m else 6] for m in marked]
    return ids, np.stack([~marked, marked, np.zeros(n, bool)], axis=1)


def test_a_chooser_learns_which_tokens_ask_for_which_chain():
    rng = np.random.default_rng(0)
    ids, right = prompts(200, rng)
    chooser = fitted(ids, right)
    ids, right = prompts(100, rng)
    assert np.mean([right[i, chooser.choice(each)] for i, each in enumerate(ids)]) > 0.95
    assert {chooser.choice(each) for each in ids} == {0, 1}
    kept = Chooser.of(json.loads(json.dumps(chooser.said())), 3)
    assert [kept.choice(each) for each in ids] == [chooser.choice(each) for each in ids]


def test_three_chains_are_told_apart_and_none_needs_no_chooser():
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 300)
    ids = [[*rng.integers(10, 20, 5).tolist(), 3 + k] for k in kind]
    right = np.eye(3, dtype=bool)[kind]
    chooser = fitted(ids, right)
    assert np.mean([chooser.choice(each) == k for each, k in zip(ids, kind, strict=True)]) > 0.95
    assert fitted(ids, np.ones((300, 3), bool)) is None
    assert fitted(ids, np.zeros((300, 3), bool)) is None


def test_a_chooser_is_kept_if_it_is_of_use_on_prompts_that_it_has_not_seen():
    rng = np.random.default_rng(2)
    ids, right = prompts(200, rng)
    kept, whole = worthwhile(ids, right), fitted(ids, right)
    assert [kept.choice(each) for each in ids] == [whole.choice(each) for each in ids]
    shuffled = right[rng.permutation(len(right))]  # nothing to be learned
    first = np.concatenate([np.ones((200, 1), bool), shuffled], axis=1)
    first[::10, 0] = False
    assert fitted(ids, first) is not None
    assert worthwhile(ids, first) is None


def test_features_count_tokens_and_length():
    assert features([1, 1, 2]).sum() == pytest.approx(np.log(3) + np.log(2) + np.log(4))
    assert (features([1, 2, 3]) == features([3, 1, 2])).all()


def test_a_config_brings_its_menu():
    assert menu_of({}, 2, 4) is None
    menu = Menu(((0, 1), (1, 1, 1)), 3)
    assert menu_of({"menu": json.loads(json.dumps(menu.said()))}, 2, 4) == menu
    said = menu.said()
    for wrong, message in (
        ({**said, "chains": [[0, 2]]}, "layers are 0 to 1"),
        ({**said, "chains": []}, "has chains"),
        ({**said, "short": 0}, "at least one token"),
        ({"chains": [[0]]}, "cannot be used"),
        ({**said, "chooser": {"weights": [[0.0]], "biases": [0.0]}}, "among 2 chains"),
    ):
        with pytest.raises(InvalidInput, match=message):
            menu_of({"menu": wrong}, 2, 4)
