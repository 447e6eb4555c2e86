"""Early stopping replayed on the AlgoPerf curves, workload by workload.

    python -m benchmarks.early_stopping [--threshold 0.05] [--orders 50]

Each workload's curves are one sweep. In every random order it is run to the end, under predictive
stopping by the bundled LC-PFN, and under median stopping; both rules are asked at the same points.
Speed-up: steps of the whole sweep over steps taken. Regret: how much worse the best found is, over
the distance from the median first value to the true best. Needs ../shared/data; never trained on.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import pandas as pd

from benchmarks.common import SHARED, keep
from benchmarks.real_curves import BOUNDS
from foretoken.estimators import CurveExtrapolator, forecasts
from foretoken.stopping import Median, Predictive, Rule, Run, evenly, replay

CHECKS = 20
checks = evenly(CHECKS)


def sweep(
    name: str, runs: list[Run], metric: str, minimize: bool, args: argparse.Namespace
) -> dict:
    bounds = BOUNDS.get(metric, (0.0, 1.0))
    extrapolator = CurveExtrapolator(args.model, minimize=minimize, bounds=bounds)
    predictive = Predictive(forecasts(extrapolator, runs, checks), args.threshold)
    rules: dict[str, Rule] = {"predictive": predictive, "median": Median(minimize=minimize)}
    row: dict = {"workload": name, "runs": len(runs)}
    orders = [np.random.default_rng((0, i)).permutation(len(runs)) for i in range(args.orders)]
    for rule_name, rule in rules.items():
        reports = [
            replay([runs[i] for i in order], rule, minimize=minimize, checks=checks)
            for order in orders
        ]
        row[rule_name] = {
            "speedup": statistics.median(r.speedup for r in reports),
            "median_regret": statistics.median(r.regret for r in reports),
            "mean_regret": statistics.fmean(r.regret for r in reports),
            "worst_regret": max(r.regret for r in reports),
            "best_kept": statistics.fmean(r.regret == 0 for r in reports),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="lcpfn")
    parser.add_argument("--threshold", type=float, default=0.05)
    parser.add_argument("--orders", type=int, default=50)
    args = parser.parse_args()
    if not SHARED.is_dir():
        print("skipped: early_stopping needs ../shared/data, which is not here")
        return
    manifest = pd.read_csv(SHARED / "curves/manifest.csv").set_index("curve_id")
    by_workload: dict[str, list[Run]] = {}
    for curve, points in pd.read_csv(SHARED / "curves/curves.csv").groupby("curve_id"):
        run = Run(str(curve), points["step"].to_numpy(float), points["value"].to_numpy(float))
        by_workload.setdefault(str(curve).split("/")[1], []).append(run)
    rows = []
    header = f"{'speed-up':>9} {'regret':>8} {'mean':>8} {'worst':>8} {'kept':>6}"
    print(f"{'workload':16} {'rule':12} {header}")
    for name, runs in by_workload.items():
        metric, direction = manifest.loc[runs[0].name, ["metric", "direction"]]
        row = sweep(name, runs, str(metric), direction == "min", args)
        rows.append(row)
        for rule in ("predictive", "median"):
            f = row[rule]
            print(
                f"{name:16} {rule:12} {f['speedup']:9.2f} {f['median_regret']:8.4f} "
                f"{f['mean_regret']:8.4f} {f['worst_regret']:8.4f} {f['best_kept']:6.0%}"
            )
    summary = {
        rule: {key: statistics.fmean(row[rule][key] for row in rows) for key in rows[0][rule]}
        for rule in ("predictive", "median")
    }
    ratio = summary["predictive"]["speedup"] / summary["median"]["speedup"]
    print(f"mean over workloads: {summary}; speed-up ratio predictive/median {ratio:.2f}")
    settings = {"threshold": args.threshold, "orders": args.orders, "checks": CHECKS}
    result = {"settings": settings, "workloads": rows, "mean": summary, "speedup_ratio": ratio}
    keep("early_stopping", result)


if __name__ == "__main__":
    main()
