"""The light chooser: which chain of a menu a prompt is to pass, by a linear model of its tokens.

Multinomial logistic regression on counts of the prompt's tokens, hashed, and its length.

Letters: K chains of the menu, F features, n prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array

__all__ = ["Chooser", "fitted", "worthwhile"]

BUCKETS = 64
FACTOR = 2654435761  # Knuth's multiplicative hash: 2^32 over the golden ratio
JUDGED = 4  # of so many prompts, one judges
STRENGTH = 0.1  # C: the inverse of the penalty on weights
ROUNDS = 1000


def features(ids: Sequence[int]) -> Array:
    """Tokens of a prompt -> float64 [F]: log (1 + count) of each bucket, and of all tokens."""
    hashed = np.asarray(ids, np.uint64) * np.uint64(FACTOR) % np.uint64(1 << 32)
    buckets = (hashed * np.uint64(BUCKETS) >> np.uint64(32)).astype(np.int64)
    counts = np.bincount(buckets, minlength=BUCKETS)
    found: Array = np.log1p(np.append(counts, len(ids)))
    return found


@dataclass(frozen=True)
class Chooser:
    """A fitted one.

    Args:
        weights: [K, F].
        biases: [K].
    """

    weights: Array
    biases: Array

    def choice(self, ids: Sequence[int]) -> int:
        """The place in the menu of the chain that is likeliest to be right.

        Args:
            ids: of the prompt's tokens.
        """
        return int((self.weights @ features(ids) + self.biases).argmax())

    def said(self) -> dict[str, Any]:
        """What JSON can say of it."""
        return {"weights": self.weights.tolist(), "biases": self.biases.tolist()}

    @classmethod
    def of(cls, said: Mapping[str, Any], chains: int) -> Chooser:
        """The inverse of ``said``.

        Raises:
            InvalidInput: it is not of a menu of so many chains.
        """
        weights, biases = (np.array(said[name], np.float64) for name in ("weights", "biases"))
        if weights.shape != (chains, BUCKETS + 1) or biases.shape != (chains,):
            raise InvalidInput(
                f"a chooser among {chains} chains has weights [{chains}, {BUCKETS + 1}], not "
                f"{list(weights.shape)}"
            )
        return cls(weights, biases)


def fitted(prompts: Sequence[Sequence[int]], right: Array) -> Chooser | None:
    """A chooser of the first chain that is right; None where there is nothing to choose between.

    Args:
        prompts: tokens of each, n of them.
        right: bool [n, K], by prompt and chain; prompts that none answers teach nothing.

    Raises:
        Unsupported: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415
    except ImportError as e:
        raise Unsupported("choosers are fitted by scikit-learn; install foretoken[cpu]") from e
    taught: Array = np.asarray(right.any(axis=1))
    first = right[taught].argmax(axis=1)
    if len(set(first.tolist())) < 2:
        return None
    x = np.stack([features(ids) for ids, some in zip(prompts, taught, strict=True) if some])
    scale = StandardScaler().fit(x)
    model = LogisticRegression(C=STRENGTH, max_iter=ROUNDS).fit(scale.transform(x), first)
    weights, biases = model.coef_, model.intercept_
    if len(weights) == 1:  # of two classes, scikit-learn keeps the second's log-odds alone
        weights, biases = np.stack([0 * weights[0], weights[0]]), np.append(0.0, biases)
    # Scaling becomes part of the weights; chains that were never the first are never chosen.
    own, K = weights / scale.scale_, right.shape[1]
    every = np.zeros((K, BUCKETS + 1)), np.full(K, -1e9)
    every[0][model.classes_], every[1][model.classes_] = own, biases - own @ scale.mean_
    return Chooser(*every)


def worthwhile(prompts: Sequence[Sequence[int]], right: Array) -> Chooser | None:
    """A fitted chooser, if one is of any use; arguments and errors as for ``fitted``.

    It is judged by every fourth prompt, before those are learned from, too: there it has to name
    right chains more often than the first one is right.
    """
    judging = np.arange(len(prompts)) % JUDGED == 0
    learned = [ids for ids, judge in zip(prompts, judging, strict=True) if not judge]
    trial = fitted(learned, right[~judging])
    if trial is None:
        return None
    named = [trial.choice(ids) for ids, judge in zip(prompts, judging, strict=True) if judge]
    known = right[judging]
    if known[np.arange(len(known)), named].mean() <= known[:, 0].mean():
        return None
    return fitted(prompts, right)
