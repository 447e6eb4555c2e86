"""Sizes of the pipeline "ordered", which training in torch and serving in NumPy must share."""

from __future__ import annotations

__all__ = [
    "CLASSES",
    "COLUMNS",
    "DEPTH",
    "FLOOR",
    "GAIN",
    "LEAF_PRIOR",
    "LEAST_WEIGHT",
    "LENGTHS",
    "LEVELS",
    "PENALTIES",
    "SCORES",
    "SMOOTHINGS",
    "TAIL",
    "TREES",
    "TRIES",
    "depth",
]

COLUMNS = 100  # encoded columns that are kept
LEVELS = 30  # most categories of a column that become indicators
CLASSES = 10  # most classes
SCORES = 3 * CLASSES  # of ridge, then kernel ridge regression, then a forest; they come first
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of ridge regression, times the number of training rows
SMOOTHINGS = (1e-3, 1e-2)  # of kernel ridge regression, likewise
LENGTHS = (0.5, 2.0)  # of the kernel: squared, in mean squared distances of training rows
FLOOR = 0.01  # added to the share of a column's variance that weighs it in distances
TREES = 128  # of the forest
DEPTH = 8  # of a tree
TRIES = 16  # splits that are tried at a node
LEAST_WEIGHT = 2.0  # of either half of a split, in rows of the tree's sample
LEAF_PRIOR = 0.1  # rows of the table at large that are added to each leaf
TAIL = 3.0  # standard deviations beyond which a value grows logarithmically
GAIN = 2.0  # of scores


def depth(rows: int) -> int:
    """Levels of a tree: no more than tell so many training rows apart."""
    return max(1, min(DEPTH, (rows - 1).bit_length()))
