"""Bayesian extrapolation by emcee: the posterior over the prior's parameters, sampled and scored.

A run starts from draws of the prior that fit the observed points best, so that its walkers are
valid, near the data and still far apart; its predictive distribution is the mixture, over kept
samples, of Normal(f(t), σ), in which later noisy values are scored.

The other side is given every help that emcee allows. All walkers are evaluated in one vectorised
call; they move in the coordinates of ``whiten``, and by symmetric differences between walkers (ter
Braak 2006; Nelson et al. 2014). On the first held-out curve the autocorrelation time is 900 to
1,800 steps in the prior's own products, about 250 in these coordinates with emcee's default stretch
move, and about 110 with the differences. emcee's snooker move is not used: as implemented in
release 3.1 it does not keep its target.

Letters: W walkers, S steps, N observed points, M = 100 − N later points.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import emcee
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.curves.paper_prior import Draw, clean_curves, log_density, valid
from benchmarks.curves.whiten import Whitening

__all__ = [
    "DIMENSIONS",
    "MOVES",
    "Move",
    "Run",
    "Schedule",
    "Target",
    "WhitenedTarget",
    "extrapolate",
    "run",
    "starts",
    "walker_by_walker",
]

Floats = NDArray[np.float64]
Move = Literal["difference", "stretch"]

MOVES = {"difference": emcee.moves.DEMove(gamma0=0.4), "stretch": emcee.moves.StretchMove()}
DIMENSIONS = 10
THIN = 10  # of the steps whose samples make up the predictive distribution; far below τ
HALF_LOG_TWO_PI = 0.5 * np.log(2 * np.pi)


class Target:
    """Log posterior density of parameters [n, 10] given the first N values of a curve, [n]."""

    def __init__(self, observed: Floats) -> None:
        self.observed = observed

    def __call__(self, p: Floats) -> Floats:
        out = log_density(p)
        rows = np.flatnonzero(out > -np.inf)
        y = clean_curves(p[rows])
        log_sigma = p[rows, 9]
        squares = np.square(y[:, : len(self.observed)] - self.observed).sum(axis=1)
        with np.errstate(over="ignore"):
            out[rows] -= 0.5 * squares * np.exp(-2 * log_sigma) + len(self.observed) * log_sigma
        out[rows[~valid(y)]] = -np.inf
        return out


class WhitenedTarget:
    """The target in the sampler's coordinates: log density of points [n, 10], [n]."""

    def __init__(self, observed: Floats, bank: Draw) -> None:
        self.observed = observed
        self.whitening = Whitening(observed, bank)
        self._target = Target(observed)

    def __call__(self, points: Floats) -> Floats:
        parameters, log_volume = self.whitening.parameters(points)
        return self._target(parameters) + log_volume


class _Sampler(emcee.EnsembleSampler):  # type: ignore[misc]
    """emcee without its conversion of the densities one walker at a time, which costs time."""

    def compute_log_prob(self, coords: Floats) -> tuple[Floats, None]:
        return self.log_prob_fn(coords), None


@dataclass(frozen=True)
class Schedule:
    """How long to run.

    Args:
        walkers: W.
        burn_in: steps left out of what is kept, a multiple of ``THIN``.
        steps: kept steps after ``burn_in``, a multiple of ``THIN``.
    """

    walkers: int
    burn_in: int
    steps: int


@dataclass(frozen=True)
class Run:
    """What one run has shown.

    Args:
        log_scores: mean log density of the M later values, for each schedule, [schedules].
        log_density: of each later value under the longest schedule, [M].
        pit: probability that the longest schedule gives to values below the true one, [M].
        tau: integrated autocorrelation time of each parameter over the kept steps, [10].
        tau_predicted: the same of the curve's value at the first, middle and last later step, [3].
        acceptance: share of proposals accepted.
        seconds: wall-clock time of sampling and of scoring the longest schedule.
        cpu_seconds: processor time of the same.
    """

    log_scores: Floats
    log_density: Floats
    pit: Floats
    tau: Floats
    tau_predicted: Floats
    acceptance: float
    seconds: float
    cpu_seconds: float


def starts(observed: Floats, walkers: int, bank: Draw) -> Floats:
    """The draws of ``bank`` likeliest given ``observed`` [N], best first, σ refitted: [W, 10]."""
    residual = np.square(bank.clean[:, : len(observed)] - observed).mean(axis=1)
    log_sigma = np.clip(0.5 * np.log(residual), -7.0, 0.0)
    score = -len(observed) * (log_sigma + 0.5 * residual * np.exp(-2 * log_sigma))
    score -= 0.5 * np.square(log_sigma + 4.0)
    best = np.argsort(-score)[:walkers]
    p = bank.parameters[best].copy()
    p[:, 9] = log_sigma[best]
    return p


def run(
    curve: Floats,
    cutoff: int,
    schedules: Sequence[Schedule],
    bank: Draw,
    seed: int,
    move: Move = "difference",
) -> Run:
    """Sample once, as long as the longest schedule asks, and score every schedule on the way.

    Args:
        curve: noisy values [100]; the sampler sees the first ``cutoff``.
        cutoff: N.
        schedules: lengths to report, the longest last, all with the same walkers.
        bank: draws of the prior to start from.
        seed: of the proposals.
        move: kind of proposal.
    """
    longest = schedules[-1]
    wall, cpu = time.perf_counter(), time.process_time()
    answer = extrapolate(curve, cutoff, longest, bank, seed, move)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scores = [predict(answer.chain, s, curve, cutoff)[0].mean() for s in schedules[:-1]]
    kept = answer.chain[longest.burn_in // THIN :]
    return Run(
        log_scores=np.array([*scores, answer.log_density.mean()]),
        log_density=answer.log_density,
        pit=answer.pit,
        tau=_tau(kept),
        tau_predicted=_tau(_later_values(kept, cutoff)),
        acceptance=answer.acceptance,
        seconds=wall,
        cpu_seconds=cpu,
    )


class Answer(NamedTuple):
    """What one extrapolation yields; the fields are those of ``Run``.

    ``chain`` holds every ``THIN``th step, [S / THIN, W, 10], burn-in included.
    """

    log_density: Floats
    pit: Floats
    chain: Floats
    acceptance: float


def extrapolate(
    curve: Floats, cutoff: int, schedule: Schedule, bank: Draw, seed: int, move: Move
) -> Answer:
    """Sample, and score the later values; arguments as ``run``.

    The prior's density has no bound where a product and its partner vanish together. A walker that
    begins next to such a point may never leave it, so a run in which one has not moved at all is
    begun again from the next best start in its place.
    """
    target = WhitenedTarget(curve[:cutoff], bank)
    nearest = starts(curve[:cutoff], 2 * schedule.walkers, bank)
    first, spare = np.split(nearest, 2)
    while True:
        sampler = _sampled(target, first, schedule, seed, move)
        stuck = np.flatnonzero(sampler.acceptance_fraction == 0)
        if not 0 < stuck.size <= len(spare):
            break
        first[stuck], spare = spare[: stuck.size], spare[stuck.size :]
    points: Floats = sampler.get_chain()[::THIN]
    chain = target.whitening.parameters(points.reshape(-1, DIMENSIONS))[0].reshape(points.shape)
    log_density, pit = predict(chain, schedule, curve, cutoff)
    return Answer(log_density, pit, chain, float(sampler.acceptance_fraction.mean()))


def _sampled(
    target: WhitenedTarget, first: Floats, schedule: Schedule, seed: int, move: Move
) -> emcee.EnsembleSampler:
    """A sampler that has run from the parameters ``first`` [W, 10]."""
    sampler = _Sampler(len(first), DIMENSIONS, target, moves=MOVES[move], vectorize=True)
    random = np.random.RandomState(seed).get_state()
    state = emcee.State(target.whitening.points(first), random_state=random)
    sampler.run_mcmc(state, schedule.burn_in + schedule.steps, skip_initial_state_check=True)
    return sampler


def walker_by_walker(observed: Floats, first: Floats, steps: int) -> None:
    """Run as published implementations do: one call of the density for each walker.

    In the prior's own products and with emcee's default move, from ``first`` [W, 10]; for timing.
    """
    target = Target(observed)
    sampler = emcee.EnsembleSampler(*first.shape, lambda p: float(target(p[None])[0]))
    sampler.run_mcmc(first, steps)


def predict(chain: Floats, schedule: Schedule, curve: Floats, cutoff: int) -> tuple[Floats, Floats]:
    """Log density [M] and probability integral transform [M] of the later values.

    Args:
        chain: every ``THIN``th step, [S / THIN, W, 10].
        schedule: which of its steps to keep.
        curve: noisy values [100].
        cutoff: N.
    """
    kept = chain[schedule.burn_in // THIN : (schedule.burn_in + schedule.steps) // THIN]
    total = np.full(len(curve) - cutoff, -np.inf)
    below = np.zeros_like(total)
    for step in _blocks(kept):
        log_sigma = step[:, 9:]
        z = (curve[cutoff:] - clean_curves(step)[:, cutoff:]) * np.exp(-log_sigma)
        part = -0.5 * np.square(z) - log_sigma - HALF_LOG_TWO_PI
        total = np.logaddexp(total, np.logaddexp.reduce(part, axis=0))
        below += ndtr(z).sum(axis=0)
    samples = kept.shape[0] * kept.shape[1]
    return total - np.log(samples), below / samples


def _tau(kept: Floats) -> Floats:
    """Integrated autocorrelation time in steps, of each column of [S / THIN, W, columns]."""
    tau: Floats = THIN * emcee.autocorr.integrated_time(kept, quiet=True, tol=0)
    return tau


def _later_values(kept: Floats, cutoff: int) -> Floats:
    """The clean curve at the first, the middle and the last later step, [S / THIN, W, 3]."""
    later = [cutoff, (cutoff + 99) // 2, 99]
    values = np.concatenate([clean_curves(block)[:, later] for block in _blocks(kept)])
    return values.reshape(*kept.shape[:2], 3)


def _blocks(samples: Floats) -> list[Floats]:
    """Samples [S, W, 10] as matrices [<= 2000, 10], small enough to stay in the cache."""
    flat = samples.reshape(-1, samples.shape[-1])
    return np.array_split(flat, max(1, len(flat) // 2000))
