"""Curves per second from both priors, beside the paper's prior written curve by curve in NumPy.

    python -m benchmarks.prior [--threads N] [--curves N]

Both sides run in this process, alternating, and the best of five rounds counts. Processor time is
reported beside wall-clock time, because a shared machine moves only the latter.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.common import keep
from foretoken.models.lcpfn.prior import PriorName, sample

ROUNDS = 5


def plain_paper_prior(n: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """The paper's prior as it is written down: one curve at a time, rejected as a whole."""
    x = np.arange(1, 101)
    curves: list[np.ndarray[Any, Any]] = []
    while len(curves) < n:
        w = rng.uniform(size=3)
        power = rng.uniform(0, 1.25) - rng.uniform(-0.6, 0.6) * x ** -rng.lognormal(0, 2)
        logarithm = rng.uniform(0, 1) - rng.uniform(-0.5, 0.5) / np.log(x + 1)
        a, beta = rng.uniform(0, 1), rng.uniform(0, 2)
        k, delta = rng.lognormal(-2, 1), rng.lognormal(0, 0.5)
        y = w[0] * power + w[1] * logarithm + w[2] * (a - (a - beta) * np.exp(-k * x**delta))
        if y[-1] > y[0] and y.min() >= 0 and y.max() <= 1:
            curves.append(y + rng.normal(size=100) * np.exp(rng.normal(-4, 1)))
    return np.stack(curves)


def rate(draw: Callable[[], object], n: int) -> tuple[float, float]:
    """Curves per second of wall-clock and of processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    draw()
    return n / (time.perf_counter() - wall), n / (time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--curves", type=int, default=50_000)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)

    def ours(prior: PriorName) -> Callable[[], object]:
        return lambda: sample(args.curves, prior=prior, generator=generator)

    sides: dict[str, tuple[Callable[[], object], int]] = {
        "paper": (ours("paper"), args.curves),
        "wide": (ours("wide"), args.curves),
        "plain NumPy, paper": (lambda: plain_paper_prior(1000, rng), 1000),
    }
    rounds = [{name: rate(*side) for name, side in sides.items()} for _ in range(ROUNDS)]
    best = {
        name: {
            "curves_per_second": round(max(r[name][0] for r in rounds)),
            "curves_per_cpu_second": round(max(r[name][1] for r in rounds)),
        }
        for name in sides
    }
    plain = best["plain NumPy, paper"]["curves_per_second"]
    print(f"{'prior':20} {'curves/s':>10} {'per CPU s':>10} {'ratio':>8}")
    for name, figures in best.items():
        wall, cpu = figures.values()
        print(f"{name:20} {wall:10,} {cpu:10,} {wall / plain:8.1f}")
    result = {"threads": args.threads, "curves": args.curves, "rounds": ROUNDS, **best}
    keep("prior", result)


if __name__ == "__main__":
    main()
