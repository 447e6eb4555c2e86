"""Real tables that no model was trained on: TabPFN beside what practitioners classify them with.

    python -m benchmarks.tabular [--model tabpfn | --artefact DIR] [--members N] [--again]
        [--plot FILE]

Twelve OpenML-CC18 tables with categories or missing values, five splits each, half of the rows to
learn from: ROC-AUC (one against one, as published), log loss, Brier score, calibration error, all
as ``tables.validation`` defines them, accuracy, and seconds of fit and prediction on one thread.
Everyone gets the same rows; ``tables.baselines`` says how the others are set. Their figures follow
from fixed seeds and are kept in results/tabular_baselines.json; ``--again`` computes them anew.
Beside them stand the published means of the same splits. Needs ../shared/data and ``.[bench]``.
A candidate's figures, or those of some splits only, are printed and not kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.common import keep
from benchmarks.tables.baselines import baselines
from benchmarks.tables.compare import published, show, summary
from benchmarks.tables.ours import candidate, served
from benchmarks.tables.plot import plot
from benchmarks.tables.validation import BINS, SPLITS, TABLES, evaluate


def main() -> None:
    args = arguments()
    if not TABLES.is_dir():
        print("skipped: tabular needs ../shared/data, which is not here")
        return
    options = {} if args.members is None else {"members": float(args.members)}
    ours = args.artefact.name if args.artefact else args.model
    chosen = candidate(args.artefact, options) if args.artefact else served(args.model, options)
    with chosen as probabilities:
        rows: dict[str, Any] = {ours: evaluate(probabilities, args.splits)["rows"]}
    others = baselines(args.again)
    for method, each in others.pop("rows").items():
        rows[method] = [row for row in each if row["split"] in args.splits]
    found = summary(rows, ours, published())
    show(found)
    verdict(found, ours)
    if args.plot:
        plot(args.plot, rows, ours)
    if args.artefact is None and args.splits == list(SPLITS):
        settings = {"model": ours, "options": options, "bins": BINS, "others": others}
        keep("tabular", {"settings": settings, **found, "rows": rows[ours]})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--model", default="tabpfn", help="a reference to a registered model")
    which.add_argument("--artefact", type=Path, help="folder of a model that is not registered")
    parser.add_argument("--members", type=int, help="of the ensemble; the default is the model's")
    parser.add_argument("--splits", type=int, nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--again", action="store_true", help="compute the others anew")
    parser.add_argument("--plot", type=Path, help="draw table by table into this file")
    return parser.parse_args()


def verdict(found: dict[str, Any], ours: str) -> None:
    """Say which means ours is above."""
    means = dict(found["mean_auc"])
    own = means.pop(ours)
    above = sorted((m for m in means if means[m] < own), key=lambda m: means[m])
    below = sorted((m for m in means if means[m] >= own), key=lambda m: means[m])
    print(f"\n{ours}: mean ROC-AUC {own:.4f}, above {', '.join(above) or 'none'}")
    print(f"  not above {', '.join(below) or 'none'}")


if __name__ == "__main__":
    main()
