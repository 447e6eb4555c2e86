"""LC-PFN beside MCMC on curves of the paper's prior: log-score, calibration and time per curve.

    python -m benchmarks.curves_mcmc [--models lcpfn] [--curves 100] [--minutes 30] [--jobs 1]

The first 10, 20 or 50 of 100 noisy values are seen; both sides give a distribution for each later
value, and the score is the mean log density of the true noisy ones. The other side is emcee on the
prior itself, with 100 walkers and three lengths: 2,000 and 4,000 steps after 500 of burn-in, the
settings M1 and M3 of Adriaensen et al. 2023, table 3, and a long run, whose autocorrelation time
says whether it has converged. Runs are kept in runs/mcmc; what is missing there is sampled within
``--minutes`` by ``--jobs`` processes, and both sides are compared on the curves that are complete.
Both are timed anew, in turn, whenever this command runs: MCMC at the paper's shorter setting, as it
is here (all walkers in one vectorised call, in coordinates that shorten its autocorrelation) and as
published implementations run it (a call for each walker, emcee's default move).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import interleaved, keep
from benchmarks.curves.cache import cached, key_of
from benchmarks.curves.chain import (
    THIN,
    Move,
    Run,
    Schedule,
    extrapolate,
    run,
    starts,
    walker_by_walker,
)
from benchmarks.curves.ours import Later, Ours
from benchmarks.curves.paper_prior import Draw, draw

Floats = NDArray[np.float64]

SEED = 2_000_003  # of the held-out curves, from a generator that no training uses
BANK = 100_000  # draws of the prior to start from, of seed SEED + 1
CUTOFFS = (10, 20, 50)
SCHEDULES = {
    "paper M1": Schedule(walkers=100, burn_in=500, steps=2_000),
    "paper M3": Schedule(walkers=100, burn_in=500, steps=4_000),
    "long": Schedule(walkers=100, burn_in=1_000, steps=8_000),
}
MOVE: Move = "difference"
FEW = 50  # steps by which the walker-by-walker form is timed; its time is proportional to them
LONG_ENOUGH = 50  # autocorrelation times that a run should last, as emcee's authors advise
CACHE = Path(__file__).resolve().parent.parent / "runs" / "mcmc"


def sampled(curves: Floats, minutes: float, jobs: int) -> dict[int, list[Run]]:
    """MCMC's runs by cutoff, for the first curves that have one at every cutoff."""
    with ProcessPoolExecutor(jobs) as pool:
        for _ in pool.map(partial(_fill, curves, 60 * minutes, jobs), range(jobs)):
            pass
    bank = draw(BANK, np.random.default_rng(SEED + 1))
    found: dict[int, list[Run]] = {cutoff: [] for cutoff in CUTOFFS}
    for i in range(len(curves)):
        runs = [_one(i, curves[i], cutoff, bank, sample=False) for cutoff in CUTOFFS]
        complete = [r for r in runs if r is not None]
        if len(complete) < len(CUTOFFS):
            break
        for cutoff, r in zip(CUTOFFS, complete, strict=True):
            found[cutoff].append(r)
    return found


def _fill(curves: Floats, seconds: float, jobs: int, job: int) -> None:
    """Keep the runs of every ``jobs``th curve, beginning none after ``seconds``."""
    until = time.monotonic() + seconds
    bank = draw(BANK, np.random.default_rng(SEED + 1))
    for i, cutoff in product(range(job, len(curves), jobs), CUTOFFS):
        if time.monotonic() > until:
            return
        r = _one(i, curves[i], cutoff, bank, sample=True)
        assert r is not None
        print(
            f"curve {i + 1:3}, {cutoff} seen: log-scores {r.log_scores.round(3)}, "
            f"tau {r.tau.max():.0f}, {r.cpu_seconds:.1f} CPU s",
            file=sys.stderr,
            flush=True,
        )


def _one(i: int, curve: Floats, cutoff: int, bank: Draw, *, sample: bool) -> Run | None:
    schedules = list(SCHEDULES.values())
    key = key_of(
        curve=curve,
        cutoff=cutoff,
        schedules=[asdict(s) for s in schedules],
        move=MOVE,
        coordinates="whitened",
        thin=THIN,
        bank=bank.parameters[:100],
        emcee=version("emcee"),
    )
    path = CACHE / f"curve{i:03d}_seen{cutoff:02d}.json"
    begin = partial(run, curve, cutoff, schedules, bank, i, MOVE)
    return cached(path, key, begin if sample else None)


def compare(runs: Sequence[Run], models: dict[str, Later]) -> dict[str, Any]:
    """Both sides at one cutoff."""
    scores = np.array([r.log_scores for r in runs])  # [curves, schedules]
    tau = np.array([r.tau.max() for r in runs])
    predicted = np.array([r.tau_predicted.max() for r in runs])
    steps = SCHEDULES["long"].steps
    mcmc = {
        "log_score": {
            name: _mean(column) for name, column in zip(SCHEDULES, scores.T, strict=True)
        },
        "covered_by_90_percent": _covered(np.concatenate([r.pit for r in runs])),
        "tau_median": float(np.median(tau)),
        "tau_largest": float(tau.max()),
        "tau_of_predictions_median": float(np.median(predicted)),
        "longer_than_50_tau": float((steps > LONG_ENOUGH * tau).mean()),
        "longer_than_50_tau_of_predictions": float((steps > LONG_ENOUGH * predicted).mean()),
        "acceptance": float(np.mean([r.acceptance for r in runs])),
        "long_cpu_seconds_per_curve": float(np.median([r.cpu_seconds for r in runs])),
        "long_log_score_per_curve": scores[:, -1].round(4).tolist(),
    }
    ours = {
        name: {
            "log_score": _mean(later.log_density.mean(axis=1)),
            "minus_mcmc": {
                schedule: _mean(later.log_density.mean(axis=1) - column)
                for schedule, column in zip(SCHEDULES, scores.T, strict=True)
            },
            "better_than_long_mcmc": float((later.log_density.mean(axis=1) > scores[:, -1]).mean()),
            "covered_by_90_percent": _covered(later.pit),
            "log_score_per_curve": later.log_density.mean(axis=1).round(4).tolist(),
        }
        for name, later in models.items()
    }
    return {"mcmc": mcmc, **ours}


def _mean(values: Floats) -> dict[str, float]:
    """Mean over curves with its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {"mean": float(values.mean()), "standard_error": float(error)}


def _covered(pit: Floats) -> float:
    return float(((pit >= 0.05) & (pit <= 0.95)).mean())


def timed(held_out: Draw, models: dict[str, Ours]) -> dict[str, Any]:
    """Seconds per curve of both sides, measured in turn, and their ratios, by cutoff."""
    curves = held_out.noisy
    bank = draw(BANK, np.random.default_rng(SEED + 1))
    paper = SCHEDULES["paper M1"]
    found: dict[str, Any] = {}
    for cutoff in CUTOFFS:
        seen = curves[0, :cutoff]
        sides: dict[str, Callable[[], object]] = {
            "mcmc": partial(extrapolate, curves[0], cutoff, paper, bank, 0, MOVE),
            "one by one": partial(walker_by_walker, seen, starts(seen, paper.walkers, bank), FEW),
        }
        for name, ours in models.items():
            sides[name] = partial(ours.answer, curves[:1], cutoff)
            sides[f"{name} x {len(curves)}"] = partial(ours.answer, curves, cutoff)
        seconds = interleaved(sides, rounds=5)
        published = seconds["one by one"] * (paper.burn_in + paper.steps) / FEW
        found[str(cutoff)] = {
            "mcmc": seconds["mcmc"],
            "mcmc_walker_by_walker": published,
        }
        for name in models:
            one, many = seconds[name], seconds[f"{name} x {len(curves)}"] / len(curves)
            found[str(cutoff)][name] = {
                "seconds_single": one,
                "seconds_in_a_batch": many,
                "ratio_single": seconds["mcmc"] / one,
                "ratio_in_a_batch": seconds["mcmc"] / many,
                "walker_by_walker_ratio_single": published / one,
                "walker_by_walker_ratio_in_a_batch": published / many,
            }
    return found


def show(cutoff: int, row: dict[str, Any]) -> None:
    """One cutoff's table."""
    mcmc = row["mcmc"]
    print(f"\n{cutoff} of 100 points seen {'log-score':>21} {'± SE':>7} {'90 % covers':>12}")
    for name, score in mcmc["log_score"].items():
        covered = f"{mcmc['covered_by_90_percent']:12.1%}" if name == "long" else ""
        print(f"  {'MCMC ' + name:34} {_pm(score)} {covered}")
    for name, ours in row.items():
        if name != "mcmc":
            print(f"  {name:34} {_pm(ours['log_score'])} {ours['covered_by_90_percent']:12.1%}")
            for schedule in ("paper M1", "long"):
                against = f"    minus MCMC {schedule}"
                print(f"  {against:34} {_pm(ours['minus_mcmc'][schedule])}")
    print(
        f"  autocorrelation time: median {mcmc['tau_median']:.0f} steps, largest "
        f"{mcmc['tau_largest']:.0f} (of predictions: median "
        f"{mcmc['tau_of_predictions_median']:.0f}); {SCHEDULES['long'].steps} steps exceed 50 of "
        f"them in {mcmc['longer_than_50_tau']:.0%} of the runs (of predictions: "
        f"{mcmc['longer_than_50_tau_of_predictions']:.0%})"
    )


def _pm(score: dict[str, float]) -> str:
    return f"{score['mean']:9.3f} {score['standard_error']:7.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="lcpfn", help="comma-separated references; may be ''")
    parser.add_argument("--curves", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30, help="for sampling what is missing")
    parser.add_argument("--jobs", type=int, default=1, help="processes that sample")
    args = parser.parse_args()
    held_out = draw(args.curves, np.random.default_rng(SEED))
    models = {name: Ours(name) for name in args.models.split(",") if name}
    by_cutoff = sampled(held_out.noisy, args.minutes, args.jobs)
    count = len(by_cutoff[CUTOFFS[0]])
    if not count:
        raise SystemExit(f"no curve was complete within {args.minutes:g} minutes; allow more")
    answers = {
        cutoff: {name: ours.answer(held_out.noisy[:count], cutoff) for name, ours in models.items()}
        for cutoff in CUTOFFS
    }
    rows = {cutoff: compare(by_cutoff[cutoff], answers[cutoff]) for cutoff in CUTOFFS}
    for cutoff, row in rows.items():
        show(cutoff, row)
    times = timed(held_out, models)
    for seen, taken in times.items():
        print(
            f"\n{seen} seen, MCMC at paper M1: {taken['mcmc']:.2f} s a curve vectorised, "
            f"{taken['mcmc_walker_by_walker']:.1f} s walker by walker"
        )
        for name in models:
            t = taken[name]
            for how, key in (("alone", "single"), ("in a batch", "in_a_batch")):
                print(
                    f"  {name} {how}: {1e3 * t[f'seconds_{key}']:.3f} ms, "
                    f"{t[f'ratio_{key}']:,.0f}x and {t[f'walker_by_walker_ratio_{key}']:,.0f}x"
                )
    settings = {
        "command": "python -m benchmarks.curves_mcmc " + " ".join(sys.argv[1:]),
        "curves": count,
        "seed": SEED,
        "schedules": {name: asdict(schedule) for name, schedule in SCHEDULES.items()},
        "move": MOVE,
        "predictive_samples_every": THIN,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "emcee": version("emcee"),
        "scipy": version("scipy"),
    }
    keep("curves_mcmc", {"settings": settings, "by_points_seen": rows, "seconds": times})


if __name__ == "__main__":
    main()
