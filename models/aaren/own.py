"""A CSV file of one's own to learn from: its series, or its sequences and their classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from foretoken.errors import InvalidInput, NotFound
from foretoken.models.aaren.sequences import Sequences, SequenceTask, classifier
from foretoken.models.aaren.series import SeriesTask
from foretoken.models.aaren.train import Preset, train
from foretoken.models.contract import Array
from foretoken.models.training import Progress

__all__ = ["read", "run", "sequences_of", "series_of"]

Columns = dict[str, list[str]]
TEST = 0.2  # share that is held out: the end of each series, or sequences at random


def run(
    preset: Preset,
    options: Mapping[str, Any],
    out: Path,
    device: str = "cpu",
    progress: Progress | None = None,
) -> None:
    """Train a forecaster or a classifier on the file that the options name.

    Raises:
        InvalidInput: it cannot be learned from.
        NotFound: there is no such file.
    """
    path = Path(options["csv"])
    columns = read(path)
    data = f"{path.name}, {options['target']}"
    if options["head"] == "forecaster":
        series = series_of(columns, options["target"], options["series"])
        season = options["season"]
        task: SeriesTask | SequenceTask = SeriesTask(
            preset, series, test=TEST, season=season, device=device
        )
    else:
        every = sequences_of(columns, options["target"], options["series"])
        learned, held_out = _split(every, preset.recipe.seed)
        preset = replace(preset, config=classifier(preset.config, learned))
        task = SequenceTask(preset, learned, held_out, device=device)
    train(task, preset.config, preset.recipe, data, out=out, device=device, progress=progress)


def read(path: Path) -> Columns:
    """The columns of a CSV file with a header, as text.

    Raises:
        InvalidInput: it has no rows, or rows of differing lengths.
        NotFound: there is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            rows = list(csv.reader(f))
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise InvalidInput(f"{path} cannot be read as CSV in UTF-8: {e}") from e
    if len(rows) < 2 or len(set(rows[0])) != len(rows[0]):
        raise InvalidInput(f"{path}: a line of column names, none twice, and rows are needed")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise InvalidInput(f"{path}, line {i + 1}: {len(row)} values, not {len(rows[0])}")
    return {name: [row[i] for row in rows[1:]] for i, name in enumerate(rows[0])}


def series_of(columns: Columns, target: str, series: str = "") -> list[Array]:
    """Values of ``target`` in the file's order, one array for each value of column ``series``.

    Raises:
        InvalidInput: there is no such column, or a value is no finite number.
    """
    y = _numbers(columns, target)
    return [y[rows] for rows in _groups(columns, series).values()]


def sequences_of(columns: Columns, target: str, series: str) -> Sequences:
    """One sequence for each value of column ``series``: the other columns, and its label.

    Raises:
        InvalidInput: there are no such columns, no others, values are no finite numbers, or a
            sequence has several labels.
    """
    if not series:
        raise InvalidInput("a classifier needs series=COLUMN, which tells sequences apart")
    labels = _column(columns, target)
    groups = _groups(columns, series)
    others = [name for name in columns if name not in (target, series)]
    if not others:
        raise InvalidInput(f"there is no column beside {target!r} and {series!r} to learn from")
    x = np.stack([_numbers(columns, name) for name in others], axis=1)
    told = {key: {labels[row] for row in rows} for key, rows in groups.items()}
    for key, several in told.items():
        if len(several) > 1:
            raise InvalidInput(f"{series} {key!r} has several labels: {sorted(several)}")
    return [x[rows] for rows in groups.values()], [next(iter(told[key])) for key in groups]


def _column(columns: Columns, name: str) -> list[str]:
    if name not in columns:
        raise InvalidInput(f"no column {name!r}; there are {', '.join(columns)}")
    return columns[name]


def _groups(columns: Columns, series: str) -> dict[str, list[int]]:
    """Rows by the value of a column, in the order of the file; all of them without one."""
    if not series:
        return {"": list(range(len(next(iter(columns.values())))))}
    groups: dict[str, list[int]] = {}
    for row, key in enumerate(_column(columns, series)):
        groups.setdefault(key, []).append(row)
    return groups


def _numbers(columns: Columns, name: str) -> Array:
    texts = _column(columns, name)
    numbers = np.array([_number(text) for text in texts])
    if (bad := np.flatnonzero(~np.isfinite(numbers))).size:
        row = int(bad[0])
        raise InvalidInput(
            f"column {name!r}, line {row + 2}: {texts[row]!r} is no finite number; fill in or drop "
            "what is missing"
        )
    return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _split(every: Sequences, seed: int) -> tuple[Sequences, Sequences]:
    """What to learn from and what to hold out, a share of each class.

    Raises:
        InvalidInput: a class has a single sequence.
    """
    values, labels = every
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for label in sorted(set(labels)):
        rows = [i for i, other in enumerate(labels) if other == label]
        if len(rows) < 2:
            raise InvalidInput(f"class {label!r} has one sequence; learning and testing need two")
        held += rng.permutation(rows)[: max(round(TEST * len(rows)), 1)].tolist()
    rest = sorted(set(range(len(labels))) - set(held))
    return _taken(values, labels, rest), _taken(values, labels, sorted(held))


def _taken(values: Sequence[Array], labels: Sequence[str], rows: Sequence[int]) -> Sequences:
    return [values[i] for i in rows], [labels[i] for i in rows]
