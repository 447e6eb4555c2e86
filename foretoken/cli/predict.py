"""``foretoken predict``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.filesize import decimal

from foretoken.cli.output import show, show_table, track, work
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server, client_of
from foretoken.cli.tables import Source, expect_table, open_table, writing
from foretoken.errors import InvalidInput
from foretoken.estimators.contexts import Answer, Contexts, Local, Remote, Training

if TYPE_CHECKING:
    from foretoken.cli.remote import Remote as Asked
    from foretoken.records import ContextRecord

Array = NDArray[Any]

MEMBERS = "Of the ensemble, 1 to 32; by default as many as the model has, 4 of tabpfn."
ROWS = 4096  # that are classified at a time
NOTES = 10  # that are shown


def predict(
    model: Annotated[str, typer.Argument(help="NAME, NAME:VERSION or ALIAS@NAME.")],
    test: Annotated[Path, typer.Option(help="Rows to classify, CSV or Parquet by suffix.")],
    train: Annotated[Path | None, typer.Option(help="Rows whose classes are known.")] = None,
    target: Annotated[str | None, typer.Option(help="Column of --train with the classes.")] = None,
    context: Annotated[
        str | None, typer.Option(help="Id of rows that were learned from before, not --train.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the answers: CSV or Parquet.")] = None,
    members: Annotated[int | None, typer.Option(help=MEMBERS)] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    categorical: Annotated[
        str | None, typer.Option(help="Columns of numbers without order, commas between.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Columns of CSV that are text even if they look otherwise.")
    ] = None,
    leave_out: Annotated[
        str | None, typer.Option(help="Columns of either file not to be used, such as an id.")
    ] = None,
    limit: Annotated[
        str, typer.Option(help="Of a table too large for the model: refuse, or subsample.")
    ] = "refuse",
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Tell how far the members disagree, in nats.")
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the printed table.")] = 12,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Classify the rows of a table by rows whose classes are known."""
    _expect_either(train, target, context)
    options = _options(members, seed, limit)
    if context is not None and (categorical or options != _options(None, 0, "refuse")):
        raise InvalidInput(
            "a context has the options that it was fitted with: leave out --members, --seed, "
            "--limit and --categorical"
        )
    if out is not None:
        expect_table(out)
    left = set(_list(leave_out))
    texts = frozenset(_list(text))
    known = None if train is None else open_table(train, text=texts)
    with _open(server, data_dir) as contexts:
        if known is None:
            record = _record(contexts, model, str(context))
            names: Sequence[str] = record.columns
            kinds: Mapping[str, str] = dict.fromkeys(record.texts, "text")
        else:
            names = _features(known, str(train), str(target), left)
            kinds = _expected(known)
        asked = open_table(test, kinds, texts)
        if asked.rows == 0:
            raise InvalidInput(f"{test} has no rows to classify")
        if strange := sorted(texts.difference(asked.names, known.names if known else names)):
            raise InvalidInput(f"--text names {strange}, which are no columns of {train or test}")
        if strange := sorted(left.difference(asked.names, known.names if known else ())):
            _say(f"note: --leave-out names {strange}, which are no columns of {train or test}")
        _expect_columns(asked, test, names, left | {target or ""})
        if known is not None:
            training = _training(known, str(train), str(target), names, _list(categorical), options)
            record = _fitted(contexts, model, str(train), training)
        answers = _answers(contexts, record.id, asked, names)
        _tell(answers, record, asked.rows, out, rows, uncertainty=uncertainty, as_json=as_json)


@contextmanager
def _open(server: Asked | None, data_dir: Path | None) -> Iterator[Contexts]:
    """The contexts of a server, or of the data dir."""
    client = client_of(server, data_dir)
    if client is not None:
        with client:
            yield Remote(client)
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    with open_plane(load_settings(data_dir=data_dir)) as local:
        yield Local(local)


def _expect_either(train: Path | None, target: str | None, context: str | None) -> None:
    if train is not None and context is not None:
        raise InvalidInput("give --train and --target, or --context, not both")
    if train is None and context is None:
        raise InvalidInput("give --train and --target, or --context")
    if train is not None and target is None:
        raise InvalidInput("--target is missing: the column of --train with the classes")
    if context is not None and target is not None:
        raise InvalidInput("--target goes with --train; a context knows its classes")


def _expected(known: Source) -> Mapping[str, str]:
    """Kinds of the columns to classify; where integers were learned from, any number will do."""
    kinds = known.kinds.items()
    return {name: "number" if kind == "integer" else kind for name, kind in kinds}


def _record(contexts: Contexts, model: str, context: str) -> ContextRecord:
    record = contexts.record(context)
    name, _, version = model.rpartition("@")[2].partition(":")
    if name != record.model or (version and version != str(record.version)):
        raise InvalidInput(
            f"{context} was made by {record.model}:{record.version}, not by {model}; only that can "
            "read it"
        )
    return record


def _features(known: Source, path: str, target: str, left: set[str]) -> list[str]:
    if target not in known.names:
        raise InvalidInput(f"{path} has no column {target!r}; it has {', '.join(known.names)}")
    names = [name for name in known.names if name != target and name not in left]
    if not names or known.rows == 0:
        raise InvalidInput(f"{path} is empty but for {target!r}: nothing can be learned from it")
    return names


def _expect_columns(asked: Source, path: Path, names: Sequence[str], spare: set[str]) -> None:
    """Refuse a file whose columns are not those that are learned from."""
    missing = [name for name in names if name not in asked.names]
    unknown = [name for name in asked.names if name not in names and name not in spare]
    if missing:
        raise InvalidInput(f"{path} lacks the columns {missing}, which were learned from")
    if unknown:
        raise InvalidInput(
            f"{path} has columns that were not learned from: {unknown}; pass --leave-out "
            f"{','.join(unknown)}"
        )


def _training(
    known: Source,
    path: str,
    target: str,
    names: Sequence[str],
    categorical: Sequence[str],
    options: Mapping[str, float | str],
) -> Training:
    (columns,) = known.chunks(known.rows, [*names, target])
    if unknown := [name for name in categorical if name not in names]:
        raise InvalidInput(f"--categorical names {unknown}, which are no columns of {path}")
    labels = _labels(path, target, columns.pop(target))
    told = known.categorical.intersection(columns).union(categorical)
    unordered = [name for name in told if columns[name].dtype.kind != "O"]
    return Training(columns, labels, frozenset(unordered), options)


def _labels(path: str, target: str, values: Array) -> Array:
    where = f"{path}: column {target!r}, the target,"
    if values.dtype.kind == "f":
        missing = np.flatnonzero(np.isnan(values))
    else:
        missing = np.flatnonzero([value is None for value in values.tolist()])
    if missing.size:
        raise InvalidInput(f"{where} is empty in row {missing[0] + 1}; leave such rows out")
    if values.dtype.kind != "f":
        return values
    fractions = np.flatnonzero(values != np.floor(values))
    if fractions.size:
        row = int(fractions[0])
        raise InvalidInput(
            f"{where} holds {values[row]:g} in row {row + 1}; classes are names or integers"
        )
    return values.astype(np.int64)


def _options(members: int | None, seed: int, limit: str) -> dict[str, float | str]:
    options: dict[str, float | str] = {"seed": float(seed), "limit": limit}
    return options if members is None else {**options, "members": float(members)}


def _fitted(contexts: Contexts, model: str, path: str, training: Training) -> ContextRecord:
    try:
        nbytes = contexts.measure(model, training)
        rows, columns = len(training.target), len(training.columns)
        _say(f"The context of {rows} rows and {columns} columns will take {decimal(nbytes)}.")
        with work("reading the rows"):
            learned = contexts.fit(model, training)
    except InvalidInput as e:
        raise InvalidInput(f"{path}: {e}") from e
    for note in learned.notes[:NOTES]:
        _say(f"note: {note}")
    _say(f"Kept as {learned.context.id}, which --context takes in the place of --train.")
    return learned.context


def _answers(
    contexts: Contexts, context: str, asked: Source, names: Sequence[str]
) -> Iterator[Answer]:
    said: set[str] = set()
    chunks = asked.chunks(ROWS, names)
    for columns in track(chunks, "classifying", math.ceil(asked.rows / ROWS)):
        answer = contexts.predict(context, columns)
        for note in answer.notes:
            if note not in said and len(said) < NOTES:
                _say(f"note: {note}")
            said.add(note)
        yield answer


def _tell(
    answers: Iterator[Answer],
    record: ContextRecord,
    total: int,
    out: Path | None,
    shown: int,
    *,
    uncertainty: bool,
    as_json: bool,
) -> None:
    """Write or print a row for each answer."""
    first = next(answers)
    names = ["prediction", *(f"p_{label}" for label in first.classes.tolist())]
    names += ["uncertainty"] * uncertainty
    table: list[dict[str, Any]] = []
    with nullcontext() if out is None else writing(out, names) as write:
        for answer in chain([first], answers):
            rows = _rows(answer, names)
            if write is not None:
                write(rows)
            else:
                table += rows if as_json else rows[: shown - len(table)]
    if out is not None:
        said = f"Wrote {total} rows to {out}."
        show(said, as_json=as_json, rows=total, out=str(out), context=record.id)
        return
    title = f"{len(table)} of {total} rows, by {record.model}:{record.version}"
    show_table(table, title=title, as_json=as_json)


def _rows(answer: Answer, names: Sequence[str]) -> list[dict[str, Any]]:
    likeliest = answer.classes[answer.probabilities.argmax(axis=1)].tolist()
    columns = [likeliest, *answer.probabilities.T.tolist(), answer.uncertainty.tolist()]
    return [dict(zip(names, row, strict=False)) for row in zip(*columns, strict=True)]


def _list(given: str | None) -> list[str]:
    return [] if given is None else [part.strip() for part in given.split(",") if part.strip()]


def _say(line: str) -> None:
    typer.echo(line, err=True)
