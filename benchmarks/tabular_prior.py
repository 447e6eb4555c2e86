"""Tables per second from the prior, beside the same kind of graph written table by table in NumPy.

    python -m benchmarks.tabular_prior [--rows N] [--columns N] [--batch N]

The NumPy side draws from noisy networks only, with the same sizes of graph, and makes categories,
classes and missing values as the prior does; it is what one would write first. Sides take turns
and the median of the rounds counts, with one thread and with as many as there are processors.
Processor time is reported beside wall-clock time, because a shared machine moves only the latter.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from benchmarks.common import keep
from foretoken.models.tabpfn.prior import sample

Array = np.ndarray[Any, Any]
ROUNDS = 7
TABLES = 256  # of a round
ACTIVATIONS: tuple[Callable[[Array], Array], ...] = (
    np.tanh,
    lambda x: x,
    lambda x: np.maximum(x, 0),
    np.sin,
    np.abs,
    lambda x: np.square(np.clip(x, -4, 4)),
    np.sign,
    lambda x: np.exp(-0.5 * x * x),
)


def plain_table(rng: np.random.Generator, rows: int, columns: int) -> tuple[Array, Array]:
    """One table from one noisy network, as the method is told in words."""
    depth = min(2 + int(rng.gamma(1.5)), 5)
    width = max((columns + 12) // 2, min(8 + int(rng.gamma(1.5, 16)), 96))
    x = rng.standard_normal((int(rng.integers(1, 13)), rows), np.float32)
    noise, drop = np.exp(rng.uniform(-6, -0.7)), rng.uniform(0.3, 0.97)
    layers = []
    for _ in range(depth):
        w = rng.standard_normal((width, len(x)), np.float32) * (rng.random((width, len(x))) > drop)
        w[np.arange(width), rng.integers(0, len(x), width)] = rng.standard_normal(width)
        x = w @ x
        x = (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-6)
        x = ACTIVATIONS[rng.integers(len(ACTIVATIONS))](x * rng.uniform(0.4, 3, (width, 1)))
        own = noise * rng.uniform(0.3, 3, (width, 1)).astype(np.float32)
        x = x + own * rng.standard_normal((width, rows), np.float32)
        layers.append(x)
    nodes = np.concatenate(layers)
    chosen = rng.choice(len(nodes), columns + 1, replace=False)
    table, target = nodes[chosen[1:]].T.copy(), nodes[chosen[0]]
    for j in np.flatnonzero(rng.random(columns) < 0.4):
        edges = np.sort(rng.choice(table[:, j], int(rng.integers(1, 8))))
        table[:, j] = rng.permutation(len(edges) + 1)[np.searchsorted(edges, table[:, j])]
    if rng.random() < 0.4:
        for j in np.flatnonzero(rng.random(columns) < 0.5):
            table[rng.random(rows) < 0.5 * rng.random() ** 3, j] = np.nan
    count = 2 if rng.random() < 0.5 else int(rng.integers(3, 11))
    y = np.searchsorted(np.sort(rng.choice(target, count - 1)), target)
    if rng.random() < 0.5:
        y = rng.permutation(count)[y]
    return table, np.unique(y, return_inverse=True)[1]


def rates(sides: Mapping[str, Callable[[], object]]) -> dict[str, dict[str, int]]:
    """Median tables per second of wall-clock and of processor time of each side."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for round_ in range(ROUNDS + 1):  # the first warms up
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            if round_:
                spent = time.perf_counter() - wall, time.process_time() - cpu
                taken[name].append(spent)
    return {
        name: {
            "tables_per_second": round(TABLES / statistics.median(t[0] for t in times)),
            "tables_per_cpu_second": round(TABLES / statistics.median(t[1] for t in times)),
            "slowest_round": round(TABLES / max(t[0] for t in times)),
        }
        for name, times in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 64])
    args = parser.parse_args()
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    shape, train = (args.rows, args.columns), args.rows * 3 // 4

    def ours(batch: int) -> Callable[[], object]:
        times = range(0, TABLES, batch)
        return lambda: [sample(batch, *shape, train_rows=train, generator=generator) for _ in times]

    sides: dict[str, Callable[[], object]] = {
        f"batches of {batch}": ours(batch) for batch in args.batch
    }
    sides["plain NumPy"] = lambda: [plain_table(rng, *shape) for _ in range(TABLES)]
    result: dict[str, Any] = {"rows": args.rows, "columns": args.columns, "rounds": ROUNDS}
    load = os.getloadavg()[0]
    print(f"{'threads':>7} {'side':15} {'tables/s':>10} {'per CPU s':>10} {'ratio':>6}")
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        result[f"threads_{threads}"] = best = rates(sides)
        plain = best["plain NumPy"]["tables_per_second"]
        for name, figures in best.items():
            wall, cpu = figures["tables_per_second"], figures["tables_per_cpu_second"]
            print(f"{threads:7} {name:15} {wall:10,} {cpu:10,} {wall / plain:6.1f}")
    keep("tabular_prior", {**result, "load_before": round(load, 1)})


if __name__ == "__main__":
    main()
