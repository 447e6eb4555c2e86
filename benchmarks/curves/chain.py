"""Bayesian extrapolation by emcee: the posterior over the prior's parameters, sampled and scored.

A run starts from draws of the prior that fit the observed points best, so that its walkers are
valid, near the data and still far apart; its predictive distribution is the mixture, over kept
samples, of Normal(f(t), σ), in which later noisy values are scored.

The proposals are symmetric differences between walkers (ter Braak 2006; Nelson et al. 2014). On
this posterior they halve the autocorrelation time of emcee's default stretch move, which remains
selectable. emcee's snooker move is not used: as implemented in release 3.1 it does not keep the
target invariant, and here moves the mean log-score by up to 0.09.

Letters: W walkers, S steps, N observed points, M = 100 − N later points.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import emcee
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.curves.paper_prior import Draw, clean_curves, log_density, valid

__all__ = ["MOVES", "Move", "Run", "Schedule", "Target", "run", "starts"]

Floats = NDArray[np.float64]
Move = Literal["difference", "stretch"]

MOVES = {"difference": emcee.moves.DEMove(gamma0=0.3), "stretch": emcee.moves.StretchMove()}
THIN = 20  # of the steps whose samples make up the predictive distribution; far below τ
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


class _Sampler(emcee.EnsembleSampler):  # type: ignore[misc]
    """emcee without its conversion of densities one walker at a time: a fifth less time."""

    def compute_log_prob(self, coords: Floats) -> tuple[Floats, None]:
        return self.log_prob_fn(coords), None


@dataclass(frozen=True)
class Schedule:
    """How long to run.

    Args:
        walkers: W.
        burn_in: steps left out of what is kept.
        steps: kept steps after ``burn_in``.
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
    """The ``walkers`` draws of ``bank`` likeliest given ``observed`` [N], σ refitted: [W, 10]."""
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
    first = starts(curve[:cutoff], longest.walkers, bank)
    sampler = _Sampler(
        longest.walkers, first.shape[1], Target(curve[:cutoff]), moves=MOVES[move], vectorize=True
    )
    state = emcee.State(first, random_state=np.random.RandomState(seed).get_state())
    sampler.run_mcmc(state, longest.burn_in + longest.steps, skip_initial_state_check=True)
    chain: Floats = sampler.get_chain()
    log_density, pit = _predict(chain, longest, curve, cutoff)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    scores = [_predict(chain, schedule, curve, cutoff)[0].mean() for schedule in schedules[:-1]]
    kept = chain[longest.burn_in :]
    return Run(
        log_scores=np.array([*scores, log_density.mean()]),
        log_density=log_density,
        pit=pit,
        tau=emcee.autocorr.integrated_time(kept, quiet=True, tol=0),
        tau_predicted=_tau_predicted(kept, cutoff),
        acceptance=float(sampler.acceptance_fraction.mean()),
        seconds=wall,
        cpu_seconds=cpu,
    )


def _predict(
    chain: Floats, schedule: Schedule, curve: Floats, cutoff: int
) -> tuple[Floats, Floats]:
    """Log density [M] and probability integral transform [M] of the later values.

    Args:
        chain: [S, W, 10].
        schedule: which of its steps to keep.
        curve: noisy values [100].
        cutoff: N.
    """
    kept = chain[schedule.burn_in : schedule.burn_in + schedule.steps : THIN]
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


def _tau_predicted(kept: Floats, cutoff: int) -> Floats:
    """Autocorrelation time, in steps, of three later values of the clean curve, [3]."""
    later = [cutoff, (cutoff + 99) // 2, 99]
    sparse = kept[::5]
    values = np.concatenate([clean_curves(block)[:, later] for block in _blocks(sparse)])
    tau: Floats = 5 * emcee.autocorr.integrated_time(
        values.reshape(*sparse.shape[:2], 3), quiet=True, tol=0
    )
    return tau


def _blocks(samples: Floats) -> list[Floats]:
    """Samples [S, W, 10] as matrices [<= 2000, 10], small enough to stay in the cache."""
    flat = samples.reshape(-1, samples.shape[-1])
    return np.array_split(flat, max(1, len(flat) // 2000))
