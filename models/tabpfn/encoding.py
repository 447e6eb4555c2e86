"""Sizes of the pipeline "ordered", which training in torch and serving in NumPy must share."""

from __future__ import annotations

__all__ = [
    "CLASSES",
    "COLUMNS",
    "FLOOR",
    "GAIN",
    "LENGTHS",
    "LEVELS",
    "PENALTIES",
    "SCORES",
    "SMOOTHINGS",
    "TAIL",
]

COLUMNS = 100  # encoded columns that are kept
LEVELS = 30  # most categories of a column that become indicators
CLASSES = 10  # most classes
SCORES = 2 * CLASSES  # of ridge regression, then of kernel ridge regression; they come first
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of ridge regression, times the number of training rows
SMOOTHINGS = (1e-3, 1e-2)  # of kernel ridge regression, likewise
LENGTHS = (0.5, 2.0)  # of the kernel: squared, in mean squared distances of training rows
FLOOR = 0.01  # added to the share of a column's variance that weighs it in distances
TAIL = 3.0  # standard deviations beyond which a value grows logarithmically
GAIN = 2.0  # of scores
