"""Methods side by side over tables: means, ranks, wins, and paired differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.tables.validation import METRICS, TABLES, means

__all__ = ["mean_ranks", "paired", "published", "summary", "table_of"]

LEVEL = 0.95


def table_of(rows: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> pd.DataFrame:
    """Tables by methods: means over the splits of one metric."""
    found = {method: means(each)["sets"] for method, each in rows.items()}
    return pd.DataFrame({m: {t: row[metric] for t, row in s.items()} for m, s in found.items()})


def published() -> pd.DataFrame:
    """Mean ROC-AUC by table as others have reported it, and as two plain models had it before.

    The manifest's columns are those of the TabPFN paper's authors, at most an hour of tuning each;
    "earlier" ones are scikit-learn's with categories as codes.
    """
    manifest = pd.read_csv(TABLES / "manifest.csv")
    tables = manifest["file"].str.removesuffix(".csv")
    names = [str(column) for column in manifest.columns if str(column).startswith("auc_")]
    columns = {name: f"published {name.removeprefix('auc_')}" for name in names}
    given = manifest.set_index(tables)[names].rename(columns=columns)
    plain = pd.read_csv(TABLES / "sklearn_baselines.csv")
    mean = plain.groupby(["did", "model"])["auc_ovo"].mean().unstack()
    mean = mean.loc[[int(table.partition("_")[0]) for table in tables]]
    return given.assign(**{f"earlier {m}": column.to_numpy() for m, column in mean.items()})


def mean_ranks(table: pd.DataFrame) -> dict[str, float]:
    """Mean over the tables of each method's rank, 1 being the highest value; ties share theirs."""
    ranks = table.rank(axis=1, ascending=False).mean()
    return {str(method): float(rank) for method, rank in ranks.items()}


def paired(ours: pd.Series[float], other: pd.Series[float]) -> dict[str, Any]:
    """Mean difference over the tables, its 95 % interval by Student's t, and tables won or tied."""
    off = (ours - other).to_numpy()
    error = float(off.std(ddof=1) / np.sqrt(len(off))) if len(off) > 1 else np.nan
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(off) - 1)) * error if len(off) > 1 else np.nan
    mean = float(off.mean())
    return {
        "difference": mean,
        "interval": [mean - half, mean + half],
        "wins": int((off > 0).sum()),
        "ties": int((off == 0).sum()),
        "tables": len(off),
    }


def summary(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], ours: str, others: pd.DataFrame
) -> dict[str, Any]:
    """Everything that is told of a comparison.

    Args:
        rows: of each method that ran here, see ``evaluate``.
        ours: the method that all are compared with.
        others: ROC-AUC of further methods, tables by methods.

    Returns:
        "means": metrics by method, of what ran here; "auc": by method and table; "mean_auc";
        "ranks" among what ran here; "best" in how many tables, ties counting for each; "against":
        differences of ROC-AUC, ours minus theirs.
    """
    here = table_of(rows, "auc")
    everyone = here.join(others.loc[here.index])
    top = here.eq(here.max(axis=1), axis=0).sum()
    return {
        "means": {method: means(each)["mean"] for method, each in rows.items()},
        "auc": {str(m): column.to_dict() for m, column in everyone.items()},
        "mean_auc": {str(m): float(v) for m, v in everyone.mean().items()},
        "ranks": mean_ranks(here),
        "best": {str(m): int(n) for m, n in top.items()},
        "against": {
            str(m): paired(here[ours], column) for m, column in everyone.items() if m != ours
        },
    }


def show(found: Mapping[str, Any]) -> None:
    """Print a summary."""
    auc = pd.DataFrame(found["auc"])
    here = list(found["means"])
    print("\nROC-AUC (OVO), means over the splits\n", auc[here].round(4).to_string())
    rest = [m for m in auc if m not in here]
    print("\nthe same, by others\n", auc[rest].round(3).rename(columns=short).to_string())
    table = pd.DataFrame(found["means"]).T[[*METRICS, "seconds"]]
    table["rank"], table["best"] = pd.Series(found["ranks"]), pd.Series(found["best"])
    print("\nmeans over the tables\n", table.round(4).to_string())
    print("\nmean ROC-AUC of the others, and ours minus theirs over the tables (95 %, Student's t)")
    for method, row in found["against"].items():
        low, high = row["interval"]
        print(
            f"  {method:26} {found['mean_auc'][method]:.4f}   {row['difference']:+.4f} "
            f"[{low:+.4f}, {high:+.4f}]   wins {row['wins']} of {row['tables']}"
        )


def short(method: str) -> str:
    return method.removeprefix("published ")
