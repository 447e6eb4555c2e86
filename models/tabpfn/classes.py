"""Labels of any kind <-> numbers of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array

__all__ = ["classes_of", "heard", "said"]

_KINDS: tuple[tuple[Any, tuple[type, ...]], ...] = (  # classes, and subclasses that do not count
    (str, ()),
    ((bool, np.bool_), ()),
    ((int, float, np.integer, np.floating), (bool,)),
)
_EXACT = 2.0**53  # from here on floats do not tell all whole numbers apart
_LONGEST = 1 << 16  # characters of a label
_CURE = "labels are int, bool, str, or floats without a fraction"


def classes_of(target: Array, most: int) -> tuple[Array, NDArray[np.int64]]:
    """The sorted classes [C], int64, bool or str, and each row's number among them, int64 [N].

    Raises:
        InvalidInput: a label is missing or of another kind, or there is one class only.
        Unsupported: there are more than ``most`` classes.
    """
    if target.ndim != 1 or not target.size:
        raise InvalidInput(f"the target has shape {target.shape}; one label for each row is needed")
    labels = _plain(target)
    classes, codes = _numbered(labels)
    if len(classes) < 2:
        raise InvalidInput(
            f"the target holds one class, {classes.tolist()[0]!r:.40}: to tell classes apart, rows "
            "of at least two are needed"
        )
    if len(classes) > most:
        raise Unsupported(
            f"the target holds {len(classes)} classes; more than {most} classes are not supported: "
            "merge rare ones, or classify in two stages. If the labels are measurements, this is "
            "no classification"
        )
    return _of_texts(classes) if classes.dtype == object else classes, codes


def _numbered(labels: Array) -> tuple[Array, NDArray[np.int64]]:
    """The sorted classes, and each label's number; texts stay objects, each as long as it is."""
    if labels.dtype != object:
        classes, codes = np.unique(labels, return_inverse=True)
        return classes, codes.astype(np.int64).reshape(-1)
    texts = labels.tolist()
    known = sorted(set(texts))
    numbers = {text: i for i, text in enumerate(known)}
    found = np.empty(len(known), object)
    found[:] = known
    return found, np.array([numbers[text] for text in texts], np.int64)


def _of_texts(classes: Array) -> Array:
    if (longest := max(map(len, classes.tolist()))) > _LONGEST:
        raise InvalidInput(
            f"a label has {longest} characters; at most {_LONGEST} are supported: give it a name"
        )
    made = classes.astype(np.str_)
    if made.tolist() != classes.tolist():
        raise InvalidInput("a label ends in a NUL character, which an array of texts cannot hold")
    return made


def _plain(target: Array) -> Array:
    if target.dtype.kind == "O":
        values = target.tolist()
        absent = [i for i, v in enumerate(values) if v is None or v != v]  # noqa: PLR0124
        if absent:
            raise InvalidInput(f"the label of row {absent[0]} is missing: drop such rows")
        kinds = {type(value) for value in values}
        if not any(all(issubclass(k, one) and k not in no for k in kinds) for one, no in _KINDS):
            names = sorted(kind.__name__ for kind in kinds)
            raise InvalidInput(f"the target holds {', '.join(names)}: {_CURE}, all of one kind")
        if issubclass(next(iter(kinds)), str):
            return target
        target = np.array(values)
    if target.dtype.kind == "f":
        odd = np.flatnonzero(~(np.abs(target) < _EXACT) | (target != np.floor(target)))
        if odd.size:
            raise InvalidInput(
                f"the label of row {odd[0]} is {target[odd[0]]}: {_CURE}. For measurements, make "
                "classes by intervals"
            )
        return target.astype(np.int64)
    if target.dtype.kind in "iu":
        return target.astype(np.int64)
    if target.dtype.kind == "b":
        return target
    if target.dtype.kind in "UT":
        return target.astype(object)
    raise InvalidInput(f"the target has dtype {target.dtype}: {_CURE}")


def said(classes: Array) -> Mapping[str, Any]:
    """Classes as JSON can say them."""
    return {"kind": classes.dtype.kind, "labels": classes.tolist()}


def heard(classes: Mapping[str, Any]) -> Array:
    """The inverse of ``said``."""
    dtype = {"i": np.int64, "b": np.bool_, "U": np.str_}[classes["kind"]]
    return np.array(classes["labels"], dtype)
