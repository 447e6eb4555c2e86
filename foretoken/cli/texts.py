"""Texts that commands read: lines, a column of a table, JSON a line, or a folder of files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from foretoken.cli.tables import KINDS, open_table
from foretoken.errors import InvalidInput, NotFound, Unavailable

__all__ = ["Passage", "Texts", "texts_of"]

STDIN = "-"
JSON_LINES = (".jsonl", ".ndjson")
DOCUMENTS = (".md", ".rst", ".txt")  # of a folder
ROWS = 4096  # of a table that are read at a time


class Passage(NamedTuple):
    """A text, and where it stands: "file:line" of a folder's, else empty."""

    text: str
    source: str = ""


@dataclass(frozen=True)
class Texts:
    """Texts that are read as they are asked for, once.

    Args:
        title: of what they come from.
        passages: one after the other; errors name where.
        total: how many, if that is known.
        sourced: whether each says where it stands.
    """

    title: str
    passages: Iterator[Passage]
    total: int | None = None
    sourced: bool = False


def texts_of(file: str, column: str | None) -> Texts:
    """The texts of a file, of a folder, or of the standard input.

    Args:
        file: text with a text a line, CSV or Parquet, JSON lines, a folder of documents, whose
            paragraphs are texts, or "-".
        column: of a table, or the key of objects in JSON lines, that holds them.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if a table has no such column, or none is named where there are some.
        Unavailable: if it cannot be read.
    """
    if file == STDIN:
        _expect_no_column(column)
        return Texts("standard input", _plain("standard input", sys.stdin.buffer))
    path = Path(file)
    if path.is_dir():
        _expect_no_column(column)
        passages = [passage for each in _documents(path) for passage in _paragraphs(each)]
        return Texts(path.name, iter(passages), len(passages), sourced=True)
    if not path.is_file():
        raise NotFound(f"no file {path}")
    if path.suffix.lower().removeprefix(".") in KINDS:
        return _of_table(path, column)
    total = sum(1 for _ in _lines(path))
    if path.suffix.lower() in JSON_LINES:
        return Texts(path.name, _of_json(path, column), total)
    _expect_no_column(column)
    return Texts(path.name, _plain(str(path), _lines(path)), total)


def _expect_no_column(column: str | None) -> None:
    if column is not None:
        raise InvalidInput("--column is for CSV, Parquet and JSON lines; plain lines have none")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as f:
            yield from f
    except OSError as e:
        raise Unavailable(f"cannot read {path}: {e.strerror or e}") from e


def _decoded(name: str, lines: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Lines of UTF-8 with their numbers, without their ends."""
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as e:
            raise InvalidInput(
                f"{name}, line {number}: not UTF-8: {e.reason} at byte {e.start}"
            ) from e
        yield number, text.rstrip("\r\n")


def _plain(name: str, lines: Iterable[bytes]) -> Iterator[Passage]:
    return (Passage(text) for _, text in _decoded(name, lines))


def _of_json(path: Path, column: str | None) -> Iterator[Passage]:
    wanted = "a string" if column is None else f"an object whose {column!r} is a string"
    for number, line in _decoded(str(path), _lines(path)):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise InvalidInput(f"{path}, line {number}: not JSON: {e}") from e
        if column is not None and isinstance(said, dict):
            said = said.get(column)
        elif column is not None:
            said = None
        if not isinstance(said, str):
            hint = "; --column names the key of objects" if column is None else ""
            raise InvalidInput(f"{path}, line {number} is not {wanted}{hint}")
        yield Passage(said)


def _of_table(path: Path, column: str | None) -> Texts:
    table = open_table(path, text=frozenset() if column is None else frozenset({column}))
    if column is None:
        raise InvalidInput(f"--column says which holds the texts; {path} has {_names(table.names)}")
    if column not in table.names:
        raise InvalidInput(f"{path} has no column {column!r}; it has {_names(table.names)}")
    if table.kinds.get(column) != "text":
        raise InvalidInput(f"{path}: column {column!r} does not hold text")

    def passages() -> Iterator[Passage]:
        row = 0
        for chunk in table.chunks(ROWS, [column]):
            for text in chunk[column].tolist():
                row += 1
                if text is None:
                    raise InvalidInput(
                        f"{path}: column {column!r} is empty in row {row}; fill it in, or leave "
                        "such rows out"
                    )
                yield Passage(text)

    return Texts(path.name, passages(), table.rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _documents(folder: Path) -> list[Path]:
    found = [path for path in folder.rglob("*") if path.suffix.lower() in DOCUMENTS]
    if files := sorted(path for path in found if path.is_file()):
        return files
    raise InvalidInput(f"{folder} has no documents: files that end in {', '.join(DOCUMENTS)}")


def _paragraphs(path: Path) -> Iterator[Passage]:
    """Texts between blank lines, each under its file and first line."""
    lines: list[str] = []
    begun = 0
    for number, line in _decoded(str(path), _lines(path)):
        if line.strip():
            begun = begun if lines else number
            lines.append(line.strip())
        elif lines:
            yield Passage(" ".join(lines), f"{path}:{begun}")
            lines = []
    if lines:
        yield Passage(" ".join(lines), f"{path}:{begun}")
