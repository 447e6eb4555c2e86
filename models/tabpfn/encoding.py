"""Sizes of the pipeline "ordered", which training in torch and serving in NumPy must share."""

from __future__ import annotations

__all__ = ["COLUMNS", "GAIN", "LEVELS", "PENALTIES", "SCORES", "TAIL"]

COLUMNS = 100  # encoded columns that are kept
LEVELS = 12  # most categories of a column that become indicators
SCORES = 10  # ridge scores, one for each class there may be; they come first
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # of ridge regression, times the number of training rows
TAIL = 3.0  # standard deviations beyond which a value grows logarithmically
GAIN = 2.0  # of ridge scores
