"""Counts as plain lists, one a series, and how those of several workers become one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from foretoken.server.metrics.definitions import KINDS

__all__ = ["Cells", "Series", "decode", "encode", "lasting", "merge"]

Series: TypeAlias = tuple[str, ...]  # a metric's name and the values of its labels
# One number; for a histogram the count of each bucket, of what lies beyond, and the sum.
Cells: TypeAlias = dict[Series, list[float]]


def merge(parts: Iterable[Cells]) -> Cells:
    """The cells of all parts, series by series; the parts stay as they are."""
    merged: Cells = {}
    for part in parts:
        for series, cell in part.items():
            held = merged.get(series)
            merged[series] = list(cell) if held is None else _joined(series[0], held, cell)
    return merged


def _joined(name: str, left: list[float], right: list[float]) -> list[float]:
    kind = KINDS.get(name)
    if kind == "earliest":
        return [min(left[0], right[0])]
    if kind == "latest":
        return [max(left[0], right[0])]
    return [a + b for a, b in zip(left, right, strict=True)]


def lasting(cells: Cells) -> Cells:
    """What outlives a worker: all but gauges."""
    return {series: cell for series, cell in cells.items() if KINDS.get(series[0]) != "gauge"}


def encode(cells: Cells) -> bytes:
    """As JSON: a list of pairs, a series and its cell."""
    return json.dumps(list(cells.items()), separators=(",", ":")).encode()


def decode(data: bytes) -> Cells:
    """The inverse of ``encode``."""
    return {tuple(series): cell for series, cell in json.loads(data)}
