"""Early stopping, on sweeps whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import InvalidInput
from foretoken.stopping import Advice, Median, Predictive, Run, advise, replay


class Chances:
    """A forecast with given chances of beating anything."""

    def __init__(self, *chances: float) -> None:
        self.chances = np.array(chances)

    def beats(self, best: float, /) -> np.ndarray:
        return self.chances


def _run(name, *values):
    return Run(name, np.arange(1.0, len(values) + 1), np.array(values))


def every(run):
    return range(1, len(run.steps))


GOOD, BAD, BETTER = (
    _run("good", 0.5, 0.7, 0.9),
    _run("bad", 0.1, 0.2, 0.2),
    _run("better", 0.2, 0.8, 1),
)


def _oracle(run, seen):
    """Knows each run's rest."""

    class Truth:
        def beats(self, best, /):
            return (run.values[seen:] > best).astype(float)

    return Truth()


@pytest.mark.parametrize(
    ("chances", "advice"),
    [
        ((0.01, 0.05), Advice(stop=True, chance=0.05)),
        ((0.01, 0.06), Advice(stop=False, chance=0.06)),
        ((0.9, 0.0), Advice(stop=False, chance=0.9)),
    ],
)
def test_a_run_stops_when_no_remaining_step_has_a_chance(chances, advice):
    assert advise(Chances(*chances), 0.5) == advice


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan")])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(InvalidInput, match="threshold"):
        advise(Chances(0.1), 0.5, threshold)
    with pytest.raises(InvalidInput, match="threshold"):
        Predictive(_oracle, threshold)


def test_without_a_rule_everything_is_run():
    report = replay([GOOD, BAD, BETTER], None, minimize=False, checks=every)
    assert (report.speedup, report.best, report.regret) == (1.0, 1.0, 0.0)


def test_a_rule_that_knows_stops_the_bad_run_at_once_and_loses_nothing():
    report = replay([GOOD, BAD, BETTER], Predictive(_oracle), minimize=False, checks=every)
    assert report.stopped == {"good": 3, "bad": 1, "better": 3}
    assert report.speedup == pytest.approx(9 / 7)
    assert report.regret == 0


def test_a_rule_that_always_stops_keeps_the_first_run_only():
    rule = Predictive(lambda run, seen: Chances(0.0))
    report = replay([BAD, GOOD, BETTER], rule, minimize=False, checks=every)
    # GOOD is ahead of BAD's best from its first point on, so it is never asked about.
    assert report.stopped == {"bad": 3, "good": 3, "better": 1}
    assert report.best == 0.9
    assert report.regret == pytest.approx(0.1 / 0.8)


def test_the_direction_is_the_metrics():
    down = [Run(r.name, r.steps, 1 - r.values) for r in (GOOD, BAD, BETTER)]

    def oracle(run, seen):
        return _oracle(Run(run.name, run.steps, -run.values), seen)

    class Down(Predictive):
        def stops(self, run, seen, before, best):
            return super().stops(run, seen, before, -best)

    report = replay(down, Down(oracle), minimize=True, checks=every)
    assert report.stopped == {"good": 3, "bad": 1, "better": 3}


def test_the_rule_is_asked_at_its_checks_only():
    asked = []

    class Asked:
        def stops(self, run, seen, before, best):
            asked.append((run.name, seen))
            return False

    replay([GOOD, BAD], Asked(), minimize=False, checks=lambda run: [2, 3, 7])
    assert asked == [("bad", 2)]


def test_median_stopping_waits_for_enough_runs_and_then_judges():
    runs = [_run(str(i), 0.4, 0.5 + 0.1 * i, 0.6) for i in range(3)]  # averages .45, .5, .55 at 2
    rule = Median(minimize=False, runs=3)
    assert not rule.stops(BAD, 2, runs[:2], 0.7)
    assert rule.stops(BAD, 2, runs, 0.7)
    assert not rule.stops(GOOD, 2, runs, 0.7)


def test_median_stopping_counts_only_runs_that_came_so_far():
    runs = [_run(str(i), 0.9) for i in range(5)]
    assert not Median(minimize=False, runs=3).stops(BAD, 2, runs, 0.9)


def test_median_stopping_of_a_loss():
    runs = [_run(str(i), 1.0, 0.5) for i in range(3)]
    rule = Median(minimize=True, runs=3)
    assert rule.stops(_run("worse", 2.0, 1.5), 2, runs, 0.5)
    assert not rule.stops(_run("fine", 2.0, 0.7), 2, runs, 0.5)


def test_an_empty_sweep_is_refused():
    with pytest.raises(InvalidInput, match="at least one run"):
        replay([], None, minimize=False, checks=every)


@pytest.mark.parametrize("steps", [[], [0.0]])
def test_runs_of_no_length_are_refused(steps):
    none = Run("none", np.array(steps), np.ones(len(steps)))
    for runs in ([none], [GOOD, none]):
        with pytest.raises(InvalidInput, match="'none' must end at a step after 0"):
            replay(runs, None, minimize=False, checks=every)


def test_runs_may_begin_at_step_0():
    late = Run("late", np.array([0.0, 1, 2]), np.array([0.1, 0.2, 0.2]))
    report = replay([GOOD, late], Predictive(_oracle), minimize=False, checks=every)
    assert report.stopped["late"] == 1
    assert report.speedup == pytest.approx(5 / 3)
