"""Labels of nodes from their vectors, as the literature on node embeddings scores it.

One logistic regression a label, one against the rest; of a test node the likeliest labels are
taken, as many as it has. Letters: N nodes, L labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier

__all__ = ["scored"]

Labels = NDArray[np.bool_]
Vectors = NDArray[np.float32]


def scored(
    vectors: Vectors, labels: Labels, share: float, C: float, seeds: Sequence[int], processes: int
) -> Mapping[str, list[float]]:
    """Micro and macro F1 of each split.

    Args:
        vectors: float32 [N, D].
        labels: [N, L].
        share: of the nodes whose labels are learned from.
        C: how little weights are held back, as scikit-learn and LIBLINEAR have it.
        seeds: of the splits.
        processes: that work side by side.
    """
    one = partial(_split, vectors, labels, share, C)
    with ProcessPoolExecutor(processes) as pool:
        found = list(pool.map(one, seeds))
    return {"micro": [micro for micro, _ in found], "macro": [macro for _, macro in found]}


def _split(
    vectors: Vectors, labels: Labels, share: float, C: float, seed: int
) -> tuple[float, float]:
    order = np.random.default_rng(seed).permutation(len(labels))
    known, asked = np.split(order, [int(share * len(labels))])
    # What LIBLINEAR minimises, the intercept held back like any weight, but by Newton's method.
    one = LogisticRegression(solver="newton-cholesky", fit_intercept=False, C=C, tol=1e-6)
    model = OneVsRestClassifier(one)
    features = np.column_stack([vectors.astype(np.float64), np.ones(len(vectors))])
    with warnings.catch_warnings():  # a label that none of the known nodes has is never predicted
        warnings.simplefilter("ignore", UserWarning)
        model.fit(features[known], labels[known].astype(int))
    likely = model.predict_proba(features[asked])
    predicted = _likeliest(likely, labels[asked].sum(axis=1))
    truth = labels[asked]
    return tuple(f1_score(truth, predicted, average=a, zero_division=0) for a in ("micro", "macro"))


def _likeliest(likely: NDArray[np.float64], counts: NDArray[np.int64]) -> Labels:
    """Of each row as many of the likeliest as ``counts`` says."""
    ranks = np.argsort(np.argsort(-likely, axis=1, kind="stable"), axis=1, kind="stable")
    made: Labels = ranks < counts[:, None]
    return made
