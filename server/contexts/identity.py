"""What a training set is called: a salted digest of its canonical form.

Two tables that say the same have one canonical form, whatever the order of their columns or the
width of their numbers. It is what a model is given too, with a context or without, so that an
answer never depends on which of the equal tables came first.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import TabularRequest
from foretoken.records import Version

__all__ = [
    "Fitter",
    "canonical",
    "context_id",
    "digest",
    "kind_of",
    "order",
    "tenant_key",
    "text_of",
    "texts",
]

FORM = 1  # of the bytes that are hashed; another form makes other ids
PREFIX = "ctx-"
_DIGITS = re.compile("([0-9]+)")
_SURROGATE = "is not Unicode, it has a lone surrogate: decode it anew, with errors='replace' say"


def canonical(request: TabularRequest, fitted: Sequence[str] = ()) -> TabularRequest:
    """The request in canonical form; equal tables become equal.

    Columns stand in natural order of their names ("x2" before "x10"); floats are float64 with one
    NaN and no negative zero, ints int64, texts ``object`` with None where a value is missing.
    Columns to predict for are only put in order. Names of columns that are categorical anyway are
    dropped from ``categorical``, and whole numbers among options are ints.

    Args:
        request: as it came.
        fitted: the columns to predict for, already in order, where a context says so.

    Raises:
        InvalidInput: naming a column of another dtype or shape, or of text that is not Unicode.
    """
    for name in request.train:
        if not _is_unicode(name):
            raise InvalidInput(f"the name of column {name!r} {_SURROGATE}")
    train = {n: _column(f"column {n!r}", request.train[n]) for n in order(request.train)}
    test = {n: request.test[n] for n in fitted or order(request.test)}
    categorical = request.categorical
    if categorical:
        columns = train or request.test
        categorical = frozenset(n for n in categorical if kind_of(np.asarray(columns[n])) in "fi")
    return replace(
        request,
        train=train,
        test=test,
        target=None if request.target is None else _column("the target", request.target),
        categorical=categorical,
        options={key: _option(key, value) for key, value in sorted(request.options.items())},
    )


def order(columns: Mapping[str, Any]) -> list[str]:
    """Names of columns in natural order: digits count as numbers."""
    return sorted(columns, key=_natural)


def _natural(name: str) -> tuple[Any, ...]:
    # Texts and numbers alternate, so that what stands at one place is comparable. A number is its
    # length and digits, for int() refuses very long ones.
    parts: list[Any] = _DIGITS.split(name)
    parts[1::2] = [(len(part), part) for part in (digits.lstrip("0") for digits in parts[1::2])]
    return parts, name


def kind_of(column: Array) -> str:
    """Whether a column is of floats ("f"), ints ("i"), bools ("b"), texts ("s") or other ("?")."""
    kind = column.dtype.kind
    return {"f": "f", "i": "i", "u": "i", "b": "b", "U": "s", "O": "s"}.get(kind, "?")


def texts(columns: Mapping[str, Any]) -> list[str]:
    """Names of the columns of text, those without any value among them."""
    return [name for name, column in columns.items() if kind_of(np.asarray(column)) == "s"]


def _column(what: str, given: Any) -> Array:
    column = np.asarray(given)
    if column.ndim != 1:
        raise InvalidInput(f"{what} has shape {column.shape}; one value for each row is needed")
    kind = kind_of(column)
    if kind == "f":
        made: Array = column.astype(np.float64) + 0.0  # of zeros, the positive one
        missing = np.isnan(made)
        if missing.any():
            made[missing] = np.nan
        return made
    if kind == "i":
        if column.dtype == np.uint64 and column.size and column.max() > np.iinfo(np.int64).max:
            raise InvalidInput(f"{what} holds integers beyond 63 bits; pass them as floats or text")
        return np.ascontiguousarray(column, np.int64)
    if kind == "b":
        return np.ascontiguousarray(column)
    if kind == "s":
        return _text(what, column)
    raise InvalidInput(
        f"{what} has dtype {column.dtype}; columns are float, int, bool or text (None: missing)"
    )


def _text(what: str, column: Array) -> Array:
    values = column.tolist()
    for i, value in enumerate(values):
        if isinstance(value, float) and math.isnan(value):
            values[i] = None
        elif not (value is None or isinstance(value, str)):
            raise InvalidInput(
                f"{what} mixes texts with {type(value).__name__} (row {i}: {value!r}); a column "
                "holds numbers, or texts and None"
            )
    if not _is_unicode("".join(value for value in values if value is not None)):
        row = next(i for i, v in enumerate(values) if v is not None and not _is_unicode(v))
        raise InvalidInput(f"{what}: the text {values[row]!r:.40} of row {row} {_SURROGATE}")
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _option(key: str, value: float | str) -> float | str:
    if isinstance(value, str):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise InvalidInput(f"option {key!r} is {number}; options are finite numbers or texts")
    return int(number) if number.is_integer() else number


def tenant_key(secret: bytes, tenant: str | None) -> bytes:
    """What salts the ids of one tenant's contexts; None is a tenant of its own."""
    return hmac.digest(secret, json.dumps(tenant).encode(), "sha256")


@dataclass(frozen=True)
class Fitter:
    """What fits a training set: another one makes another context of it.

    Args:
        model: registered name.
        version: number.
        manifest: digest of its manifest, and so of its weights.
        predictor: version of what happens before the graphs.
    """

    model: str
    version: int
    manifest: str
    predictor: int

    @classmethod
    def of(cls, version: Version, predictor: int) -> Fitter:
        """A version, with that version of the logic."""
        return cls(version.name, version.number, version.manifest_digest, predictor)


def context_id(key: bytes, fitter: Fitter, request: TabularRequest) -> str:
    """The id of a training set.

    Args:
        key: of the tenant.
        fitter: what fits it.
        request: in canonical form.
    """
    target = request.target
    options = {k: v if isinstance(v, str) else float(v) for k, v in request.options.items()}
    head = {
        "form": FORM,
        "fitter": asdict(fitter),
        "columns": [(name, kind_of(column)) for name, column in request.train.items()],
        "target": None if target is None else kind_of(target),
        "categorical": sorted(request.categorical),
        "options": sorted(options.items()),
    }
    columns = (*request.train.values(), *(() if target is None else (target,)))
    parts = (text_of(c) if c.dtype == object else c.view(np.uint8).data for c in columns)
    return digest(key, head, parts)


def digest(key: bytes, head: Mapping[str, Any], parts: Iterable[bytes | memoryview]) -> str:
    """The id of what some bytes and what is said of them name.

    Args:
        key: of the tenant.
        head: as JSON can say it.
        parts: whatever is too much to be said.
    """
    hasher = hmac.new(key, digestmod=hashlib.sha256)
    # Each behind its length, so that no two have the same bytes.
    for part in chain([json.dumps(head).encode()], parts):
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return PREFIX + hasher.hexdigest()


def text_of(column: Array) -> bytes:
    """Texts and Nones as JSON in ASCII, whatever the texts hold."""
    return json.dumps(column.tolist()).encode()
