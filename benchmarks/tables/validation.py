"""Twelve OpenML-CC18 tables that nothing is ever trained on, their splits, and the metrics.

``evaluate(probabilities)`` scores whatever maps training rows and test rows to probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.common import SHARED

__all__ = [
    "METRICS",
    "SPLITS",
    "TABLES",
    "Probabilities",
    "Split",
    "evaluate",
    "load",
    "names",
    "scores",
]

TABLES = SHARED / "tabular"
SPLITS = (1, 2, 3, 4, 5)
BINS = 15  # of the calibration error
LEAST = 1e-15  # below which no probability counts in the log loss
METRICS = ("auc", "log_loss", "brier", "calibration", "accuracy")

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Probabilities = Callable[
    [pd.DataFrame, Labels, pd.DataFrame, tuple[str, ...]], tuple[Labels, Floats]
]
"""(training rows, their labels [N], test rows, names of the categorical columns) to the classes
[C] and, for each test row, their probabilities [M, C]. Missing values are NaN in every column."""


@dataclass(frozen=True, eq=False)
class Split:
    """One half of a table to learn from, the other to be judged by.

    Args:
        table: OpenML number and name, as "23_cmc".
        number: 1 to 5.
        train, test: rows; float64, categories as codes, NaN where missing.
        target, truth: labels of the training and test rows, from 0.
        categorical: columns that hold categories.
    """

    table: str
    number: int
    train: pd.DataFrame
    target: Labels
    test: pd.DataFrame
    truth: Labels
    categorical: tuple[str, ...]


def names() -> list[str]:
    """All tables, in the manifest's order."""
    return [Path(file).stem for file in pd.read_csv(TABLES / "manifest.csv")["file"]]


@cache
def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(TABLES / f"{name}.csv").astype({"target": "int64"})


def load(splits: Sequence[int] = SPLITS, sets: Sequence[str] | None = None) -> Iterator[Split]:
    """The chosen splits of the chosen tables (by "23_cmc" or "cmc" or "23"), table by table."""
    wanted = None if sets is None else set(sets)
    with np.load(TABLES / "splits.npz") as rows:
        for name in names():
            number, _, title = name.partition("_")
            if wanted is not None and not wanted & {name, number, title}:
                continue
            frame = _table(name)
            columns = [c for c in frame.columns if c != "target"]
            categorical = tuple(c for c in columns if c.endswith("_cat"))
            x, y = frame[columns].astype("float64"), frame["target"].to_numpy()
            for split in splits:
                train, test = (rows[f"{number}_s{split}_{part}"] for part in ("train", "test"))
                halves = [x.iloc[part].reset_index(drop=True) for part in (train, test)]
                yield Split(name, split, halves[0], y[train], halves[1], y[test], categorical)


def scores(truth: Labels, classes: Labels, probabilities: Floats) -> dict[str, float]:
    """The metrics of one prediction.

    auc: ROC-AUC as scikit-learn has it, one against one (``multi_class="ovo"``, every pair of
    classes alike); of two classes the ordinary one. Classes without a test row count for nothing.
    log_loss: nats. brier: summed over classes, so from 0 to 2. calibration: |share right -
    confidence| of the likeliest class over 15 bins of equal width, weighted by rows. accuracy.

    Args:
        truth: labels of the rows, [M].
        classes: of the columns, [C], ascending; a label that is none of them is an error.
        probabilities: [M, C].

    Raises:
        ValueError: probabilities that do not sum to one, or a label that has no column.
    """
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):  # NaN too
        raise ValueError("probabilities do not sum to one")
    if not np.isin(truth, classes).all():
        raise ValueError("a test row has a class that was not predicted")
    column = np.searchsorted(classes, truth)
    p = probabilities.astype(np.float64)
    right = np.maximum(p[np.arange(len(p)), column], LEAST)
    hit = p.argmax(axis=1) == column
    return {
        "auc": auc(column, p),
        "log_loss": float(-np.log(right).mean()),
        "brier": float(((p - np.eye(len(classes))[column]) ** 2).sum(axis=1).mean()),
        "calibration": calibration(p.max(axis=1), hit),
        "accuracy": float(hit.mean()),
    }


def auc(column: NDArray[np.intp], p: Floats) -> float:
    """ROC-AUC, one against one, of the classes that have a row."""
    present, column = np.unique(column, return_inverse=True)
    if len(present) < p.shape[1]:
        p = p[:, present] + LEAST  # a row may have given all to the class that is not there
        p = p / p.sum(axis=1, keepdims=True)
    if len(present) == 2:
        return float(roc_auc_score(column, p[:, 1]))
    return float(roc_auc_score(column, p, multi_class="ovo"))


def calibration(confidence: Floats, hit: NDArray[np.bool_]) -> float:
    """Expected calibration error over bins of equal width, (0, 1/15], (1/15, 2/15], ..."""
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    off = np.bincount(bins, confidence - hit, BINS)
    return float(np.abs(off).sum() / len(hit))


def evaluate(
    probabilities: Probabilities, splits: Sequence[int] = (1,), sets: Sequence[str] | None = None
) -> dict[str, Any]:
    """Score a classifier on the chosen splits.

    Returns:
        "rows": for each split its table, split, the metrics and seconds of fit and prediction;
        "sets": means over the splits by table; "mean": means over the tables.
    """
    rows: list[dict[str, Any]] = []
    for split in load(splits, sets):
        began = perf_counter()
        classes, p = probabilities(split.train, split.target, split.test, split.categorical)
        seconds = perf_counter() - began
        found = scores(split.truth, np.asarray(classes), np.asarray(p))
        rows.append({"table": split.table, "split": split.number, **found, "seconds": seconds})
    return {"rows": rows, **means(rows)}


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over the splits of every table, and then over the tables."""
    shown = [*METRICS, "seconds"]
    by_table = pd.DataFrame(rows).groupby("table", sort=False)[shown].mean()
    by_table.index = by_table.index.astype(str)
    return {"sets": by_table.to_dict("index"), "mean": by_table.mean().to_dict()}
