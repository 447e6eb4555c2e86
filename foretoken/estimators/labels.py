"""Class labels as callers bring them, as models take them, and back.

Letters: N rows, C classes.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from foretoken.errors import InvalidInput

__all__ = ["Labels", "labels_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """The labels of N rows.

    Args:
        classes: sorted, of the caller's dtype, [C].
        target: of each row, as models take them: int64, bool or objects of str, [N].
    """

    classes: Array
    target: Array


def labels_of(y: Any) -> Labels:
    """The labels that ``y`` holds.

    Args:
        y: [N] or [N, 1] in any library's array: integers, bools, strings, or floats without a
            fraction.

    Raises:
        InvalidInput: one is missing, or of another kind than the rest, or not of a class; or all
            are of one class.
    """
    if y is None:
        raise InvalidInput(
            "requires y to be passed, but the target y is None: give each row's class"
        )
    array = np.asarray(y)
    if array.dtype.kind == "U" and not hasattr(y, "dtype"):
        array = np.asarray(y, object)  # or numbers beside text would become text
    try:
        line = column_or_1d(_plain(array) if array.dtype.kind == "O" else array, warn=True)
        check_classification_targets(line)
    except ValueError as e:
        raise InvalidInput(f"{e}; labels are integers, bools, strings or whole floats") from e
    classes = np.unique(line)
    if len(classes) < 2:
        raise InvalidInput(
            f"y holds one class, {classes.tolist()}, in n_samples={len(line)} rows: rows of at "
            "least two classes are needed to tell them apart"
        )
    return Labels(classes, as_sent(line))


def as_sent(labels: Array) -> Array:
    """Labels as models take them."""
    match labels.dtype.kind:
        case "U":
            return labels.astype(object)
        case "b":
            return labels
        case _:
            return labels.astype(np.int64)


def _plain(array: Array) -> Array:
    """Objects of one kind as an array of that kind."""
    values = array.ravel().tolist()
    for row, value in enumerate(values):
        if value is None or type(value).__name__ == "NAType" or value != value:  # noqa: PLR0124
            raise InvalidInput(f"Input y contains NaN at row {row}: drop rows without a label")
    kinds = set(map(type, values))
    for accepted in (str, bool | np.bool_, numbers.Real):
        if all(issubclass(kind, accepted) for kind in kinds):
            return np.array(values).reshape(array.shape)
    named = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise InvalidInput(
        f"Unknown label type: y holds {named}; give integers, bools or strings throughout"
    )
