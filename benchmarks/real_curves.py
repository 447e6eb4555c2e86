"""The last value of real curves from their beginnings: LC-PFN beside what practitioners use.

    python -m benchmarks.real_curves [--models lcpfn]

AlgoPerf's 137 curves, 10, 20, 40 and 60 % of the points seen (at least two). Error:
|predicted - true last value| / |first - best|, capped at 10. Everyone gets the same points, the
metric's direction and its hard bounds, to which all predictions are clipped. LC-PFN answers with
its median, which is what minimises an absolute error. Needs ../shared/data; never trained on.
Further models are registered first; the kept result has a twin of the bundled one beside it:
``foretoken train lcpfn --preset nano -o prior=paper -o seed=1 -o minutes=60``, as lcpfn-paper.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.common import SHARED, keep
from benchmarks.fits import FORMS, STARTS, Floats, fit
from foretoken.estimators import CurveExtrapolator
from foretoken.posterior import Posterior

SEEN = (0.1, 0.2, 0.4, 0.6)
CAP = 10.0
BOUNDS = {"validation/bleu": (0.0, 100.0), "validation/loss": (0.0, np.inf)}  # others: 0 to 1
LEVELS = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class Beginning:
    """A curve of which ``n`` points are seen."""

    curve: str
    share: float
    steps: Floats
    values: Floats
    n: int
    minimize: bool
    bounds: tuple[float, float]

    @property
    def workload(self) -> str:
        return self.curve.split("/")[1]

    def best(self, n: int | None = None) -> float:
        seen = self.values[:n]
        return float(seen.min() if self.minimize else seen.max())

    def error(self, predicted: float) -> float:
        unit = abs(float(self.values[0]) - self.best())
        off = abs(float(np.clip(predicted, *self.bounds)) - float(self.values[-1]))
        return 0.0 if off == 0 else min(CAP, off / unit if unit else CAP)


def beginnings() -> Iterator[Beginning]:
    manifest = pd.read_csv(SHARED / "curves/manifest.csv").set_index("curve_id")
    for curve, points in pd.read_csv(SHARED / "curves/curves.csv").groupby("curve_id"):
        metric, direction = manifest.loc[str(curve), ["metric", "direction"]]
        steps, values = points["step"].to_numpy(float), points["value"].to_numpy(float)
        for share in SEEN:
            n = max(2, round(share * len(steps)))
            bounds = BOUNDS.get(str(metric), (0.0, 1.0))
            yield Beginning(str(curve), share, steps, values, n, direction == "min", bounds)


def posteriors(model: str, given: list[Beginning]) -> list[Posterior]:
    """The model's answers at the steps that were not seen, in the order of ``given``."""
    found: dict[int, Posterior] = {}
    kinds = {(b.minimize, b.bounds) for b in given}
    for minimize, bounds in sorted(kinds):
        mine = [i for i, b in enumerate(given) if (b.minimize, b.bounds) == (minimize, bounds)]
        extrapolator = CurveExtrapolator(model, minimize=minimize, bounds=bounds)
        answers = extrapolator.extrapolate_many(
            [given[i].values[: given[i].n] for i in mine],
            [given[i].steps[: given[i].n] for i in mine],
            [given[i].steps[given[i].n :] for i in mine],
            LEVELS,
        )
        found.update(zip(mine, answers, strict=True))
    return [found[i] for i in range(len(given))]


def others(b: Beginning) -> dict[str, float]:
    """Errors of the other side."""
    seen = b.steps[: b.n], b.values[: b.n]
    fits = {
        name: fit(form, *seen, float(b.steps[-1]), minimize=b.minimize)
        for name, form in FORMS.items()
    }
    predicted = {"last": float(b.values[b.n - 1]), "best so far": b.best(b.n), **fits}
    return {name: b.error(value) for name, value in predicted.items()}


def tabulate(rows: pd.DataFrame, models: list[str]) -> dict:
    """Means and medians by cell, and in how many cells each model is below the best other."""
    plain = ["last", "best so far", *FORMS]
    shown = [*models, *plain]
    cells = rows.groupby(["share", "workload"])[shown].mean()
    overall = rows.groupby("share")[shown].agg(["mean", "median"])
    cover = [f"{m} {c}" for m in models for c in ("covers last", "covers all")]
    print("\nmean error by share seen and workload\n", cells.round(3).to_string())
    print("\nmean and median by share seen\n", overall.round(4).T.to_string())
    print("\n90 % intervals\n", rows.groupby("share")[cover].mean().round(3).T.to_string())
    print(rows[cover].mean().round(3).to_string())
    wins = {m: int((cells[m] < cells[plain].min(axis=1)).sum()) for m in models}
    rivals = {p: int((cells[p] <= cells[plain].min(axis=1)).sum()) for p in plain}
    print(f"\nbelow the best of the others in {wins} of {len(cells)} cells")
    by_share = rows.groupby("share")
    return {
        "cells": [
            {"share": s, "workload": w, **{k: float(v) for k, v in row.items()}}
            for (s, w), row in cells.iterrows()
        ],
        "mean": {str(s): g[shown].mean().to_dict() for s, g in by_share},
        "median": {str(s): g[shown].median().to_dict() for s, g in by_share},
        "coverage": {str(s): g[cover].mean().to_dict() for s, g in by_share},
        "coverage_overall": rows[cover].mean().to_dict(),
        "cells_below_best_other": wins,
        "cells_in_which_best_of_the_others": rivals,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="lcpfn", help="comma-separated references")
    models = parser.parse_args().models.split(",")
    if not SHARED.is_dir():
        print("skipped: real_curves needs ../shared/data, which is not here")
        return
    given = list(beginnings())
    rows = [{"share": b.share, "workload": b.workload, **others(b)} for b in given]
    for model in models:
        for row, b, p in zip(rows, given, posteriors(model, given), strict=True):
            truth = b.values[b.n :]
            inside = (p.quantiles[0] <= truth) & (truth <= p.quantiles[2])
            row[model] = b.error(float(p.quantiles[1, -1]))
            row[f"{model} covers last"] = float(inside[-1])
            row[f"{model} covers all"] = float(inside.mean())
    settings = {
        "models": models,
        "curves": len({b.curve for b in given}),
        "starts": STARTS,
        "cap": CAP,
    }
    keep("real_curves", {"settings": settings, **tabulate(pd.DataFrame(rows), models)})


if __name__ == "__main__":
    main()
