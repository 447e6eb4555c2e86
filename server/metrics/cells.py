"""Counts as plain lists, one a series, and how those of several workers become one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from foretoken.server.metrics.definitions import KINDS

__all__ = ["Cells", "Lines", "Series", "decode", "encode", "joined", "lasting", "merge"]

Series: TypeAlias = tuple[str, ...]  # a metric's name and the values of its labels
# One number; for a histogram the count of each bucket, of what lies beyond, and the sum.
Cells: TypeAlias = dict[Series, list[float]]
Lines: TypeAlias = dict[Series, tuple[list[float], str]]  # a cell, and its line


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


def encode(cells: Cells, before: Lines | None = None) -> Lines:
    """Each series and its cell as a line of JSON.

    Args:
        cells: to encode.
        before: what the last call returned; lines of cells that are as they were are taken from it.
    """
    lines: Lines = {}
    for series, cell in cells.items():
        held = None if before is None else before.get(series)
        lines[series] = held if held and held[0] == cell else (cell, json.dumps([series, cell]))
    return lines


def joined(lines: Lines) -> bytes:
    """The lines as bytes."""
    return "\n".join(line for _, line in lines.values()).encode()


def decode(data: bytes) -> Cells:
    """The cells of joined lines."""
    return {tuple(series): cell for series, cell in map(json.loads, data.splitlines())}
