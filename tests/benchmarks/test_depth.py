"""What the benchmark of depth counts, and that it tries what it says."""

from __future__ import annotations

import pytest

from benchmarks.depth.menu import menus
from benchmarks.depth.plot import plot
from benchmarks.depth.problems import Level, Problem, chosen, drawn, levels, mislabelled
from benchmarks.depth.shares import found_within, histogram, saved, shares, usage
from benchmarks.depth.trying import Tries
from foretoken.models.cola.tasks import Addition
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.depth.chains import full
from foretoken.models.depth.requests import SearchOptions, SearchReply, Tried
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.toys.cola import greedy, made, written


def level(name, guess=0.01):
    return Level(name, Addition(), 40, 100, guess)


def test_levels_are_those_that_are_sometimes_right():
    every = [level("easy"), level("few", 0.14), level("never"), level("hard"), level("some")]
    accuracy = {"easy": 0.9, "few": 0.5, "never": 0.01, "hard": 0.1, "some": 0.4}
    assert [each.name for each in chosen(every, accuracy)] == ["easy", "hard", "some"]
    accuracy |= {"easy": 0.4, "some": 0.3}  # a mean of 0.27: the hardest goes
    assert [each.name for each in chosen(every, accuracy)] == ["easy", "some"]
    accuracy |= {"easy": 0.95, "hard": 0.9, "some": 0.6}
    assert [each.name for each in chosen(every, accuracy)] == ["some"]
    assert chosen(every[1:3], accuracy) == []
    assert chosen([level("some", 0.08)], {"some": 0.15}) == []  # hardly more than guessing


def test_problems_are_held_out_of_their_level_and_different():
    by_name = {each.name: each for each in levels("small")}
    problems = drawn(by_name["add_2x2"], 50, 3)
    assert len(set(problems)) == 50
    for problem in problems:
        a, b = problem.prompt.removesuffix("=").split("+")
        assert int(a) + int(b) == int(problem.answer)
    assert by_name["add_2x2"].answers > 150
    assert by_name["mod7_3"].answers == 7
    assert by_name["mod7_3"].guess > 1 / 7
    assert by_name["hop_2"].guess == pytest.approx(1 / 12)
    assert by_name["add_2x2"].guess < 0.05


def test_wrong_labels_are_as_plausible_as_right_ones():
    problems = [
        Problem("hop_1", "ab,ba,1a=", "b"),
        Problem("hop_1", "cd,dc,1c=", "d"),
        Problem("hop_1", "ab,ba,1b=", "a"),
        Problem("add", "5+5=", "10"),
        Problem("add", "5+6=", "11"),
        Problem("add", "6+5=", "11"),
        Problem("alone", "1+5=", "6"),
    ]
    found = mislabelled(problems, problems)
    assert [(p.prompt, p.answer) for p in found] == [
        ("ab,ba,1a=", "a"),
        ("ab,ba,1b=", "b"),
        ("5+5=", "11"),
        ("5+6=", "10"),
        ("6+5=", "10"),
    ]


def reply(*tried):
    return SearchReply(3, tuple(Tried(c, float(r), i) for i, (c, r) in enumerate(tried)))


def test_shares_and_counts():
    problems = [Problem("a", "1", "1"), Problem("b", "2", "2"), Problem("a", "3", "3")]
    found = shares(problems, [True, False, False])
    assert found["share"] == pytest.approx(1 / 3)
    assert found["levels"] == {"a": {"share": 0.5, "of": 2}, "b": {"share": 0.0, "of": 1}}
    assert shares([], [])["share"] is None
    one, two = reply(((0, 1, 2), 0), ((0,), 1), ((0, 0), 1)), reply(((0, 1, 2), 1), ((1,), 0))
    assert (saved(one), saved(two)) == (2, 0)
    assert found_within([one, two, [False] * 20])["1"] == pytest.approx(1 / 3)
    assert found_within([one, two, [False] * 20])["2"] == pytest.approx(2 / 3)
    assert found_within([[False] * 9 + [True]])["5"] == 0
    assert histogram([(0,), (1,), (0, 1)]) == {"1": 2, "2": 1}
    assert usage([(0, 0, 1), (1,)], 2) == [
        {"times": 1.0, "skipped": 0.5, "repeated": 0.5},
        {"times": 1.0, "skipped": 0.0, "repeated": 0.0},
    ]


@pytest.fixture(scope="module")
def tries(tmp_path_factory):
    artefact = written(made(), tmp_path_factory.mktemp("cola"))
    with Registry.open(tmp_path_factory.mktemp("data")) as registry:
        registry.register("sums", artefact)
        with LocalPlane(registry, load_settings()) as plane:
            yield Tries(plane, "sums", SearchOptions(simulations=20, together=4))


def labelled(chains, count):
    model, found = made(), []
    for i in range(1000):
        prompt = f"{i}+{i * 7 % 13}="
        ids = greedy(model, prompt, 3, chains[len(found) % len(chains)])
        if ids[-1] == EOS and len(ids) > 1:
            found.append(Problem("a", prompt, VOCABULARY.decode(ids)))
            if len(found) == count:
                return found
    raise AssertionError("too few of the answers end")


def test_trials_are_what_greedy_decoding_gives_and_run_once(tries):
    model, problems = made(), labelled([(1, 2), (0, 2)], 6)
    chains = [full(3), (1, 2), (0, 2)]
    wanted = [
        [
            VOCABULARY.decode(greedy(model, p.prompt, len(p.answer) + 1, c)) == p.answer
            and greedy(model, p.prompt, len(p.answer) + 1, c)[-1] == EOS
            for c in chains
        ]
        for p in problems
    ]
    assert tries.right(problems, [chains] * 6) == wanted
    before = tries.chains
    assert before >= 18
    assert tries.right(problems, [chains[1:]] * 6) == [each[1:] for each in wanted]
    assert tries.chains == before
    said = tries.answers(problems, chains)
    assert [
        [each == (p.answer, True) for each in own] for own, p in zip(said, problems, strict=True)
    ] == wanted
    told = []
    replies = tries.search(problems, told.append)
    assert len(told) == 6
    assert all(len(found.tried) == 20 for found in replies)


def test_menus_are_measured_on_the_other_half(tries, tmp_path):
    problems = labelled([(1, 2), (0, 2)], 20)
    replies = tries.search(problems, lambda _: None)
    found = menus(tries, problems, dict(zip(problems, replies, strict=True)), (1, 2, 50), 20)
    assert (found["chosen_by"], found["held_out"]) == (10, 10)
    assert set(found["sizes"]) == {"1", "2"}
    first, both = found["sizes"]["1"], found["sizes"]["2"]
    assert first["single"] == first["any"] == first["agreement"] == both["single"]
    assert both["any"] >= both["single"] > both["plain"]


def test_a_picture_is_drawn(tmp_path):
    side = {"share": 0.5, "levels": {"a": {"share": 0.5, "of": 2}}}
    none = {"share": None, "levels": {}}
    each = {
        "model": {"layers": 2},
        "levels": {"a": {"used": True}, "b": {"used": False}},
        "corrected": {"search": side, "random": side, "shuffled": none},
        "shortened": {"search": side, "random": side},
        "chains": {
            "corrected_lengths": {"1": 2},
            "shortened_lengths": {},
            "corrected_usage": [{"times": 1.0}, {"times": 2.0}],
            "shortened_usage": [{"times": 0.0}, {"times": 0.5}],
        },
    }
    plot(tmp_path / "made" / "cola.png", {"one": each, "two": each})
    assert (tmp_path / "made" / "cola.png").stat().st_size > 10_000
