"""A table to learn from as the bytes of a blob, and back: safetensors, texts as JSON in uint8."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import save

from foretoken.models.contract import Array, Arrays
from foretoken.models.tasks import TabularRequest
from foretoken.server.contexts.identity import kind_of, text_of

__all__ = ["read", "to_bytes"]

FORM = 1
ABOUT, TARGET = "about", "target"


def to_bytes(context: str, request: TabularRequest) -> bytes:
    """The training set of a request in canonical form.

    The id stands in it, so that equal tables of two tenants are different blobs.
    """
    assert request.target is not None
    about = {
        "form": FORM,
        "context": context,
        "columns": [(name, kind_of(column)) for name, column in request.train.items()],
        "target": kind_of(request.target),
        "categorical": sorted(request.categorical),
        "options": dict(request.options),
    }
    tensors = {f"c{i}": _stored(column) for i, column in enumerate(request.train.values())}
    tensors[TARGET] = _stored(request.target)
    tensors[ABOUT] = _said(json.dumps(about).encode())
    return save(tensors)


def read(about: Mapping[str, Any], tensors: Arrays) -> TabularRequest:
    """The request to fit that ``to_bytes`` was given.

    Args:
        about: what it wrote as ``ABOUT``.
        tensors: all that it wrote.
    """
    columns = about["columns"]
    return TabularRequest(
        train={n: _read(tensors[f"c{i}"], kind) for i, (n, kind) in enumerate(columns)},
        target=_read(tensors[TARGET], about["target"]),
        categorical=frozenset(about["categorical"]),
        options=about["options"],
    )


def _stored(column: Array) -> Array:
    return _said(text_of(column)) if column.dtype == object else column


def _said(text: bytes) -> Array:
    return np.frombuffer(text, np.uint8)


def _read(tensor: Array, kind: str) -> Array:
    if kind != "s":
        return tensor
    values = json.loads(tensor.tobytes())
    made = np.empty(len(values), object)
    made[:] = values
    return made
