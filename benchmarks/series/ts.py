"""Labelled series from the UCR and UEA archives' ``.ts`` files.

Letters: N series, T steps (the longest series'), D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Labelled", "load", "read"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Labelled:
    """Series and their classes.

    Args:
        values: float32 [N, T, D], zeros from each series' length on.
        length: int64 [N].
        label: int64 [N], an index into classes.
        classes: the file's class labels, in its order.
    """

    values: Floats
    length: NDArray[np.int64]
    label: NDArray[np.int64]
    classes: tuple[str, ...]


def load(folder: Path, name: str) -> tuple[Labelled, Labelled]:
    """The official training and test parts of a set, as they are."""
    train, test = (read(folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    if train.classes != test.classes:
        raise ValueError(f"{name}: classes are {train.classes} to train and {test.classes} to test")
    return train, test


def read(path: Path) -> Labelled:
    """Parse a ``.ts`` file: a header, then a series a line, dimensions and label between colons.

    Raises:
        ValueError: for a file without classes, with missing values, time stamps, or a series whose
            dimensions differ in length.
    """
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    start = next(i for i, line in enumerate(lines) if line.lower() == "@data") + 1
    header = dict(line[1:].split(maxsplit=1) for line in lines[: start - 1])
    named, *classes = header["classLabel"].split()
    if named.lower() != "true" or header.get("timeStamps", "false").lower() != "false":
        raise ValueError(f"{path.name}: only series with classes and without time stamps are read")
    series, labels = [], []
    for number, line in enumerate(lines[start:], 1):
        *dimensions, label = line.split(":")
        rows = [np.array(dimension.split(","), np.float32) for dimension in dimensions]
        if len({len(row) for row in rows}) != 1:
            raise ValueError(f"{path.name}: dimensions of series {number} differ in length")
        series.append(np.stack(rows, axis=1))  # [T, D]
        labels.append(classes.index(label))
    length = np.array([len(values) for values in series])
    padded = np.zeros((len(series), length.max(), series[0].shape[1]), np.float32)
    for row, values in zip(padded, series, strict=True):
        row[: len(values)] = values
    if not np.isfinite(padded).all():
        raise ValueError(f"{path.name}: values are missing")
    return Labelled(padded, length, np.array(labels), tuple(classes))
