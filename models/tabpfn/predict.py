"""TabPFN's request logic: a table to a context, rows and a context to class probabilities.

A context's arrays are ``schema`` (JSON: columns, classes, options, notes) and, for each shard i,
what the pipeline learned under ``i/``. Its states hold the training rows' keys and values, those of
up to ``GROUP`` ensemble members in each, so that a group is one call.

Letters: N training rows, M test rows, E members, C classes, F features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.contract import Array, Arrays, Call, Config, Context, Host, Steps, Tensor
from foretoken.models.tabpfn import classes as labelled
from foretoken.models.tabpfn.columns import Floats, Schema, Table, learned
from foretoken.models.tabpfn.pipelines import Options, pipeline
from foretoken.models.tabpfn.shards import Limits, Shard, shards
from foretoken.models.tasks import TabularReply, TabularRequest

__all__ = ["TabularPredictor"]

GROUP = 4  # members in one call
CHUNK = 1024  # test rows in one call
MANY = 20  # categories from which a column may only name rows
INLINE = 1 << 14  # numbers that are computed at once, rather than in a thread
LEAST = 1e-300  # probability whose logarithm is taken
VERSION = 1  # of what this module does; the pipeline has one of its own


@dataclass(frozen=True)
class _Known:
    """What a context's ``schema`` says."""

    schema: Schema
    classes: Array
    options: Mapping[str, Any]
    notes: tuple[str, ...]
    columns: tuple[NDArray[np.intp], ...]  # that the pipeline of each shard sees

    @classmethod
    def parse(cls, text: bytes) -> _Known:
        said = json.loads(text)
        used = np.array(said["used"], np.intp)
        return cls(
            Schema.heard(said["columns"]),
            labelled.heard(said["classes"]),
            said["options"],
            tuple(said["notes"]),
            tuple(used[columns] for columns in said["shards"]),
        )


class TabularPredictor:
    """Answers ``TabularRequest``s; see ``foretoken.models.kinds.InContext``.

    Options of a request are those of ``pipelines.Options``.

    Args:
        config: of the network, with all fields.

    Raises:
        Unsupported: the network is for another release of its pipeline.
    """

    keeps: tuple[Tensor, ...] = ()

    def __init__(self, config: Config) -> None:
        self._pipeline = pipeline(config["pipeline"])
        if self._pipeline.features not in (None, config["features"]):
            raise Unsupported(
                f"the model reads {config['features']} features of a row, but this release's "
                f"pipeline {config['pipeline']!r} makes {self._pipeline.features}: the model is of "
                "another release; use a newer version of it, with which tables have to be fitted "
                "again, or train again"
            )
        self._limits = Limits(
            config["rows"], config["features"] - self._pipeline.extra, config["classes"]
        )
        self._known = lru_cache(maxsize=64)(_Known.parse)  # decoded schemas, by their bytes
        self.version = 1000 * self._pipeline.version + VERSION

    def fit(self, request: TabularRequest) -> Steps:
        """One call of ``encode_context`` for each group of members; the reply is a ``Context``."""
        options = self._options(request)
        groups: list[Arrays] = []
        arrays: dict[str, Array] = {}

        def work() -> None:
            groups.extend(self._fitted(request, options, arrays))

        yield Host(work)
        states = yield [Call("encode_context", group) for group in groups]
        return Context(
            arrays, tuple({**s, "n": g["n"]} for s, g in zip(states, groups, strict=True))
        )

    def options(self, given: Mapping[str, float | str]) -> dict[str, float | str]:
        """Each option, as given or by default.

        Raises:
            InvalidInput: for an unknown name or an unacceptable value.
        """
        defaults = self._pipeline.defaults
        return Options.parse(given, defaults).said(defaults)

    def lengths(self, request: TabularRequest) -> dict[str, int]:
        """Members "B" and rows "N" that the states of the request's context are of.

        Raises:
            InvalidInput, Unsupported: the table is one that ``fit`` refuses by its size or labels.
        """
        options = self._options(request)
        classes, _ = labelled.classes_of(_target(request), self._limits.classes)
        rows, columns = len(_target(request)), len(request.train)
        members = options.members
        if not self._limits.parts(rows, columns, options):
            members = self._pipeline.members(columns, len(classes), options)
        return {"B": members, "N": min(rows, self._limits.rows)}

    def notes(self, context: Context) -> tuple[str, ...]:
        """What ``fit`` has to tell: columns that no member uses, parts that members learned from.

        Every reply repeats it.
        """
        return self._known(context.arrays["schema"].tobytes()).notes

    def predict(self, request: TabularRequest, state: Context | None = None) -> Steps:
        """One call of ``query`` for each group and each ``CHUNK`` rows.

        Without a context the request's own is fitted first: the same numbers.
        """
        _expect_rows(request)
        context = state if state is not None else (yield from self.fit(request))
        text = context.arrays["schema"].tobytes()

        def read() -> tuple[_Known, Floats, tuple[str, ...]]:
            known = self._known(text)
            if state is not None:
                self._expect_same(request, known)
            return known, *known.schema.matrix(request.test)

        # A schema with many categories takes long to parse.
        size = max(len(text), sum(map(len, request.test.values())))
        known, matrix, notes = yield from _done(read, size)
        parts = []
        for start in range(0, len(matrix), CHUNK):
            chunk = matrix[start : start + CHUNK]
            parts.append((yield from self._answered(chunk, context, known)))
        probabilities, uncertainty = map(_joined, zip(*parts, strict=True))
        return TabularReply(probabilities, known.classes, uncertainty, (*known.notes, *notes))

    def _options(self, request: TabularRequest) -> Options:
        return Options.parse(request.options, self._pipeline.defaults)

    def _fitted(
        self, request: TabularRequest, options: Options, arrays: dict[str, Array]
    ) -> list[Arrays]:
        """Inputs of ``encode_context`` for each group; fills the context's ``arrays``."""
        classes, labels = labelled.classes_of(_target(request), self._limits.classes)
        self._limits.parts(len(labels), len(request.train), options)
        schema, table = learned(request.train, request.categorical)
        used, notes = _used(table, every=self._pipeline.every_column)
        table = table.part(slice(None), used)
        chosen = shards(labels, len(request.train), self._limits, options)
        if len(chosen) > 1:
            notes.append(_parts_note(chosen, len(labels), len(request.train)))
        columns = [np.flatnonzero(np.isin(used, shard.columns)) for shard in chosen]
        said = {
            "columns": schema.said(),
            "used": used.tolist(),
            "classes": labelled.said(classes),
            "options": asdict(options),
            "notes": notes,
            "shards": [each.tolist() for each in columns],
        }
        text = json.dumps(said, ensure_ascii=False).encode()
        arrays["schema"] = np.frombuffer(text, np.uint8)
        x, y = [], []
        for i, (shard, some) in enumerate(zip(chosen, columns, strict=True)):
            part, own = table.part(shard.rows, some), labels[shard.rows]
            found = self._pipeline.fit(part, own, len(classes), shard.options)
            arrays.update({f"{i}/{name}": array for name, array in found.items()})
            x.append(self._pipeline.training_rows(found, part.matrix, own))
            y.append(self._pipeline.labels(found, own))
        return _groups(_stacked(x), np.concatenate(y))

    def _expect_same(self, request: TabularRequest, known: _Known) -> None:
        if not request.options and not request.categorical:
            return
        given = asdict(Options.parse(request.options, known.options))
        if changed := sorted(name for name in given if given[name] != known.options[name]):
            raise InvalidInput(
                f"options {changed} differ from those that the context was fitted with: leave "
                "them out, or fit again"
            )
        if request.categorical - known.schema.categorical and not request.train:
            other = sorted(request.categorical - known.schema.categorical)
            raise InvalidInput(
                f"columns {other} were not fitted as categorical: leave them out, or fit again"
            )

    def _answered(self, matrix: Floats, context: Context, known: _Known) -> Steps:
        """Probabilities [M, C] and uncertainty [M] of some rows."""
        arrays = [_of_shard(context.arrays, i) for i in range(len(known.columns))]
        real = [cast("Arrays", state)["n"] for state in context.states]
        members, seen = sum(map(len, real)), int(real[0][0])

        def features() -> NDArray[np.float32]:
            each = zip(arrays, known.columns, strict=True)
            return _stacked([self._pipeline.rows(own, matrix[:, some]) for own, some in each])

        size = max(matrix.size * members, len(matrix) * (seen + self._pipeline.looks))
        x = yield from _done(features, size)
        calls, start = [], 0
        for state in context.states:
            end = start + len(cast("Arrays", state)["n"])
            calls.append(Call("query", {"x": x[start:end]}, state))
            start = end
        outputs = yield calls
        return self._mixed(_joined([output["logits"] for output in outputs]), arrays)

    def _mixed(self, logits: Array, arrays: Sequence[Arrays]) -> tuple[Floats, Floats]:
        if len(arrays) == 1:
            probabilities, members = self._pipeline.probabilities(arrays[0], logits)
        else:
            each = [
                self._pipeline.probabilities(own, one[None])[1]
                for own, one in zip(arrays, logits, strict=True)
            ]
            members = np.concatenate(each)
            probabilities = members.mean(axis=0)
        E = len(members)
        spread = _entropy(np.add.reduce(members) / E) - np.add.reduce(_entropy(members)) / E
        return probabilities, np.maximum(spread, 0.0)


def _done(work: Callable[[], Any], size: int) -> Steps:
    """What ``work`` returns, in a thread if it is about more than ``INLINE`` numbers."""
    if size <= INLINE:
        return work()
    return (yield Host(work))


def _joined(parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _target(request: TabularRequest) -> Array:
    if request.target is None:
        raise InvalidInput("there is no target: give a label for each row to learn from")
    return request.target


def _expect_rows(request: TabularRequest) -> None:
    if not request.test or not len(next(iter(request.test.values()))):
        raise InvalidInput("there are no rows to classify: give at least one column and row")


def _used(table: Table, *, every: bool) -> tuple[NDArray[np.intp], list[str]]:
    """Indices of the columns that pipelines see, and a note on each that none of them uses.

    Raises:
        InvalidInput: if no column holds two values.
    """
    used: list[int] = []
    notes: list[str] = []
    seen: dict[bytes, str] = {}
    for j, name in enumerate(table.names):
        column = table.matrix[:, j]
        missing = np.isnan(column)
        same = missing.all() or (not missing.any() and (column == column[0]).all())
        twin = seen.setdefault(column.tobytes(), name)
        if same:
            what = "holds no value" if missing.all() else "is constant"
            notes.append(f"column {name!r} {what} and is not used")
        elif twin != name and not every:
            notes.append(f"column {name!r} repeats {twin!r} and is not used")
        else:
            used.append(j)
            if table.categorical[j] and (note := _names_rows(column[~missing])):
                notes.append(f"column {name!r} {note}")
    if not used:
        raise InvalidInput(
            "no column tells rows apart, all are constant or empty: give one that holds at least "
            "two values"
        )
    return np.array(list(range(len(table.names))) if every else used, np.intp), notes


def _names_rows(codes: Floats) -> str:
    """What is to be said of a column of categories if hardly any of them comes back."""
    many = len(np.unique(codes))
    if many < MANY or many < len(codes) / 2:
        return ""
    return (
        f"has {many} categories in {len(codes)} rows, which tell little of other rows: leave it "
        "out if it names rows; give dates as numbers"
    )


def _parts_note(chosen: Sequence[Shard], rows: int, columns: int) -> str:
    one = chosen[0]
    return (
        f"each of the {len(chosen)} ensemble members learned from {len(one.rows)} of {rows} rows, "
        f"drawn in proportion to the classes, and {len(one.columns)} of {columns} columns"
    )


def _stacked(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Members of all shards, [E, rows, F], zeros after the features of those with fewer."""
    if len(parts) == 1:
        return parts[0]
    F = max(part.shape[2] for part in parts)
    return np.concatenate([np.pad(p, ((0, 0), (0, 0), (0, F - p.shape[2]))) for p in parts])


def _groups(x: NDArray[np.float32], y: NDArray[np.int64]) -> list[Arrays]:
    E, N = y.shape
    n = np.full(E, N, np.int64)
    cuts = [slice(start, start + GROUP) for start in range(0, E, GROUP)]
    return [{"x": x[cut], "y": y[cut], "n": n[cut]} for cut in cuts]


def _of_shard(arrays: Arrays, i: int) -> dict[str, Array]:
    prefix = f"{i}/"
    cut = len(prefix)
    return {name[cut:]: array for name, array in arrays.items() if name.startswith(prefix)}


def _entropy(p: Floats) -> Floats:
    """Of distributions [..., C], in nats."""
    entropy: Floats = -np.add.reduce(p * np.log(np.maximum(p, LEAST)), axis=-1)
    return entropy
