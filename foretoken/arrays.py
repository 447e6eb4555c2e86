"""Arrays, and lists of texts, from what callers bring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.errors import InvalidInput, InvalidType

__all__ = ["column", "expect_unicode", "floats", "texts"]

_MISSING = frozenset({"NAType", "NaTType"})  # of pandas, which is not imported for it


def floats(name: str, given: ArrayLike) -> NDArray[np.float64]:
    """``given`` as float64; a single number as [1].

    Raises:
        InvalidInput: naming ``name``, if it holds anything but numbers.
    """
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"{name} must be numbers, not {given!r}") from e
    return array.reshape(-1) if array.ndim == 0 else array


def texts(given: Iterable[str]) -> tuple[str, ...]:
    """Texts, in order.

    Args:
        given: a list, an array or a column of them.

    Raises:
        InvalidType: if it is a text itself, or holds anything else; the element is named.
        InvalidInput: if one is not Unicode.
    """
    if isinstance(given, str | bytes):
        raise InvalidType("texts are a list of str; give one text as [text]")
    try:
        made = tuple(given)
    except TypeError as e:
        raise InvalidType(f"texts are a list of str, not a {type(given).__name__}") from e
    for i, text in enumerate(made):
        if not isinstance(text, str):
            raise InvalidType(f"text {i} is {_said(text)}; texts are str throughout")
    expect_unicode(made)
    return made


def expect_unicode(given: Sequence[str], what: str = "") -> None:
    """Refuse what UTF-8 cannot say.

    Args:
        given: texts.
        what: one of them is called; the default is by its index.

    Raises:
        InvalidInput: naming the first text that holds a lone surrogate.
    """
    for i, text in enumerate(given):
        if text.isascii():
            continue
        try:
            text.encode()
        except UnicodeEncodeError as e:
            raise InvalidInput(
                f"{what or f'text {i}'} is not Unicode: character {e.start} is a lone surrogate; "
                "decode bytes with errors='replace'"
            ) from e


def column(name: str, given: ArrayLike) -> NDArray[Any]:
    """A column of a table [N] as float64, int64, bool, or object holding str and None.

    A missing number is NaN, missing text is None, and so is what a column of None alone lacks.
    Booleans of which some are missing become numbers, as do integers.

    Args:
        name: of the column, for errors.
        given: an array, or a sequence of numbers, booleans or texts; None is missing.

    Raises:
        InvalidInput: naming the column, if it is anything else.
    """
    try:
        array = np.asarray(given, None if hasattr(given, "__array__") else object)
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"column {name!r} is no column: {e}") from e
    if array.ndim != 1:
        raise InvalidInput(f"column {name!r} must be a list of values, not of shape {array.shape}")
    kind = array.dtype.kind
    if kind == "O":
        return _of_objects(name, array)
    if kind == "f":
        return array.astype(np.float64, copy=False)
    if kind == "i" or (kind == "u" and (array <= np.iinfo(np.int64).max).all()):
        return array.astype(np.int64, copy=False)
    if kind == "b":
        return array
    if kind in "UT":
        return array.astype(object)
    raise InvalidInput(
        f"column {name!r} holds {array.dtype}; a table takes numbers, booleans and text: give "
        "dates as numbers, such as days since some date"
    )


def _of_objects(name: str, array: NDArray[Any]) -> NDArray[Any]:
    values: list[Any] = array.tolist()
    absent = [_missing(value) for value in values]
    if any(value is None for value in values) and all(absent):
        return np.full(len(values), None, object)  # of numbers or of texts, which nobody can say
    kinds = {type(value) for value, gone in zip(values, absent, strict=True) if not gone}
    if kinds and all(issubclass(kind, str) for kind in kinds):
        made = np.empty(len(values), object)
        made[:] = [None if gone else str(v) for v, gone in zip(values, absent, strict=True)]
        return made
    if not all(issubclass(kind, int | float | np.bool_ | np.number) for kind in kinds):
        _refuse_mixture(name, values, absent)
    if not any(absent) and kinds and all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return np.array(values, np.bool_)
    try:
        if not any(absent) and all(issubclass(kind, int | np.integer) for kind in kinds):
            return np.array(values, np.int64)
        numbers = [np.nan if gone else v for v, gone in zip(values, absent, strict=True)]
        return np.array(numbers, np.float64)
    except (OverflowError, TypeError, ValueError) as e:
        raise InvalidInput(f"column {name!r}: {e}; give numbers that a double can hold") from e


def _missing(value: Any) -> bool:
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return True
    return type(value).__name__ in _MISSING


def _refuse_mixture(name: str, values: list[Any], absent: list[bool]) -> None:
    present = [i for i, gone in enumerate(absent) if not gone]
    first = values[present[0]]
    numeric = isinstance(first, int | float | np.number)
    same = (int, float, np.number, np.bool_) if numeric else (type(first),)
    other = next((i for i in present if not isinstance(values[i], same)), present[0])
    raise InvalidInput(
        f"column {name!r} has {_said(values[other])} in row {other}"
        + (f", where row {present[0]} has {_said(first)}" if other != present[0] else "")
        + "; give numbers, booleans or text throughout: str() makes text of all"
    )


def _said(value: Any) -> str:
    return f"the {type(value).__name__} {value!r:.40}"
