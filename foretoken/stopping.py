"""When to stop a training run early, and what stopping would have saved on runs that are known.

A rule sees a run so far and the best value of the sweep so far. Predictive stopping (Domhan et al.
2015; Adriaensen et al. 2023, section 5) ends a run whose posterior gives it next to no chance of
beating the best at any step that remains; median stopping (Golovin et al. 2017, Google Vizier)
ends one whose best value is worse than the median of earlier runs' averages at the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput

__all__ = [
    "Advice",
    "Median",
    "Predictive",
    "Report",
    "Rule",
    "Run",
    "advise",
    "evenly",
    "expect_threshold",
    "replay",
]

Floats = NDArray[np.float64]


class Forecast(Protocol):
    """What predictive stopping needs of a posterior over a run's remaining steps."""

    def beats(self, best: float, /) -> Floats:
        """Probability of being better than ``best`` at each remaining step."""


@dataclass(frozen=True)
class Advice:
    """Whether to stop, and the largest chance of beating the best at any remaining step."""

    stop: bool
    chance: float


def expect_threshold(threshold: float) -> None:
    """Refuse a threshold that is not a probability within (0, 1).

    Raises:
        InvalidInput: then.
    """
    if not 0 < threshold < 1:
        raise InvalidInput(f"threshold must lie within (0, 1), not {threshold}")


def advise(forecast: Forecast, best: float, threshold: float = 0.05) -> Advice:
    """Predictive stopping for one run.

    Args:
        forecast: over all remaining steps.
        best: value to beat.
        threshold: stop when the chance is at most that, at every remaining step.

    Raises:
        InvalidInput: if ``threshold`` is not within (0, 1).
    """
    expect_threshold(threshold)
    chance = float(np.max(forecast.beats(best)))
    return Advice(chance <= threshold, chance)


@dataclass(frozen=True, eq=False)
class Run:
    """A training run: values [N] at steps [N], strictly increasing."""

    name: str
    steps: Floats
    values: Floats

    def until(self, n: int) -> Run:
        """Its first ``n`` points."""
        return Run(self.name, self.steps[:n], self.values[:n])


class Rule(Protocol):
    """Decides on a run in progress."""

    def stops(self, run: Run, seen: int, before: Sequence[Run], best: float) -> bool:
        """Whether ``run``, of which ``seen`` points are known, is to end here.

        Args:
            run: whole; a rule may look at its first ``seen`` points and at its last step only.
            seen: how many points are known.
            before: earlier runs of the sweep, as far as they went.
            best: value of the sweep so far.
        """


class Predictive:
    """Stops when the posterior leaves at most ``threshold`` of a chance at every remaining step.

    Args:
        forecast: gives the posterior of a run after its first so many points.
        threshold: see ``advise``.

    Raises:
        InvalidInput: if ``threshold`` is not within (0, 1).
    """

    def __init__(self, forecast: Callable[[Run, int], Forecast], threshold: float = 0.05) -> None:
        expect_threshold(threshold)
        self._forecast = forecast
        self._threshold = threshold

    def stops(self, run: Run, seen: int, before: Sequence[Run], best: float) -> bool:
        """See ``Rule``."""
        del before
        return advise(self._forecast(run, seen), best, self._threshold).stop


class Median:
    """Stops when the run's best is worse than the median of earlier runs' averages by this step.

    Args:
        minimize: whether lower is better.
        runs: how many earlier runs must have come so far before it judges.
    """

    def __init__(self, *, minimize: bool, runs: int = 3) -> None:
        self._minimize = minimize
        self._runs = runs

    def stops(self, run: Run, seen: int, before: Sequence[Run], best: float) -> bool:
        """See ``Rule``."""
        del best
        now = run.steps[seen - 1]
        reached = [r.values[r.steps <= now] for r in before if r.steps[-1] >= now]
        averages = [values.mean() for values in reached if values.size]
        if len(averages) < self._runs:
            return False
        middle = float(np.median(averages))
        values = run.values[:seen]
        return bool(values.min() > middle if self._minimize else values.max() < middle)


@dataclass(frozen=True)
class Report:
    """What a replay of a sweep came to.

    Args:
        stopped: points seen of each run, in the order of the replay, by name.
        speedup: steps of the whole sweep over steps taken.
        best: found with stopping.
        regret: how much worse than the sweep's true best, over the distance from the median first
            value to that best; 0 when nothing was lost.
    """

    stopped: dict[str, int]
    speedup: float
    best: float
    regret: float


def evenly(times: int) -> Callable[[Run], Sequence[int]]:
    """Checks of a run at every ``times``-th part of it, from its second point on."""
    return lambda run: sorted({max(2, round(len(run.steps) * k / times)) for k in range(1, times)})


def replay(
    runs: Sequence[Run],
    rule: Rule | None,
    *,
    minimize: bool,
    checks: Callable[[Run], Sequence[int]],
) -> Report:
    """Go through a sweep one run after the other, ending each where ``rule`` says.

    Args:
        runs: in the order in which they would have been started; the first always ends.
        rule: None lets all of them end.
        minimize: whether lower is better.
        checks: the numbers of points after which the rule is asked about a run, increasing.

    Raises:
        InvalidInput: if there are no runs, or one has no points or no step beyond 0.
    """
    if not runs:
        raise InvalidInput("a sweep needs at least one run")
    for run in runs:
        if not len(run.steps) or not run.steps[-1] > 0:
            raise InvalidInput(
                f"run {run.name!r} must end at a step after 0, or it has no length to save"
            )
    better = min if minimize else max
    best: float | None = None
    before: list[Run] = []
    for run in runs:
        seen = len(run.steps)
        if rule is not None and best is not None:
            asked = (n for n in checks(run) if n < seen)
            seen = next((n for n in asked if _stops(rule, run, n, before, best, better)), seen)
        before.append(run.until(seen))
        found = float(better(before[-1].values))
        best = found if best is None else better(best, found)
    assert best is not None
    true = float(better(better(run.values) for run in runs))
    scale = abs(float(np.median([run.values[0] for run in runs])) - true) or 1.0
    return Report(
        stopped={run.name: len(run.steps) for run in before},
        speedup=float(sum(r.steps[-1] for r in runs) / sum(r.steps[-1] for r in before)),
        best=best,
        regret=abs(best - true) / scale,
    )


def _stops(
    rule: Rule,
    run: Run,
    seen: int,
    before: Sequence[Run],
    best: float,
    better: Callable[[Floats | tuple[float, float]], float],
) -> bool:
    """Ask the rule; a run that is itself the best so far goes on."""
    ahead = float(better(run.values[:seen]))
    if better((ahead, best)) == ahead:
        return False
    return rule.stops(run, seen, before, best)
