"""Vectors in files: written some rows at a time as .npy or Parquet, and read from Parquet.

Letters: N texts, D dimensions.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from foretoken.cli.files import expect_file, whole
from foretoken.cli.texts import Passage
from foretoken.errors import InvalidInput, NotFound

__all__ = ["Kept", "expect_vectors", "kept", "writing_vectors"]

Floats = NDArray[np.float32]
Write = Callable[[Floats, Sequence[Passage]], None]

KINDS = ("npy", "parquet")
ABOUT = "foretoken."  # before the names of what Parquet tells of the vectors
ROWS = 8192  # that are read at a time


def expect_vectors(path: Path) -> None:
    """Refuse a path that is not of a kind that can be written.

    Raises:
        InvalidInput: then.
    """
    expect_file(path, KINDS)


@contextmanager
def writing_vectors(path: Path, about: Mapping[str, str], *, sourced: bool) -> Iterator[Write]:
    """Yields what appends rows; the file is there once the block has ended well, else not at all.

    Args:
        path: of the file. Parquet holds the texts beside their vectors, .npy vectors alone.
        about: what Parquet is to tell of how they were made, read when the first rows come.
        sourced: whether Parquet is to say where each text stands.

    Raises:
        InvalidInput, Unavailable: if it cannot be written.
    """
    expect_vectors(path)
    writer = _parquet(about, sourced=sourced) if path.suffix.lower() == ".parquet" else _npy
    with whole(path) as temporary, writer(temporary) as write:
        yield write


@contextmanager
def _npy(path: Path) -> Iterator[Write]:
    rows = width = 0
    with path.open("wb") as f:

        def write(vectors: Floats, _passages: Sequence[Passage]) -> None:
            nonlocal rows, width
            if not rows:
                width = vectors.shape[1]
                f.write(_header(0, width))
            rows += len(vectors)
            f.write(vectors.astype("<f4").tobytes())

        yield write
        f.seek(0)
        f.write(_header(rows, width))  # as long as the first one: there is room for any N


def _header(rows: int, width: int) -> bytes:
    out = io.BytesIO()
    said = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
    npy.write_array_header_1_0(out, said)
    return out.getvalue()


def _parquet(about: Mapping[str, str], *, sourced: bool) -> Callable[[Path], Any]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    @contextmanager
    def opened(path: Path) -> Iterator[Write]:
        writers: list[Any] = []

        def write(vectors: Floats, passages: Sequence[Passage]) -> None:
            columns = {"source": pa.array([p.source for p in passages])} if sourced else {}
            columns["text"] = pa.array([p.text for p in passages], pa.string())
            flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
            columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
            told = {f"{ABOUT}{name}": value for name, value in about.items()}
            table = pa.table(columns).replace_schema_metadata(told)
            if not writers:
                writers.append(pq.ParquetWriter(path, table.schema))
            writers[0].write_table(table)

        try:
            yield write
        finally:
            for each in writers:
                each.close()

    return opened


@dataclass(frozen=True)
class Kept:
    """Texts and vectors in a Parquet file.

    Args:
        about: what was told of how they were made.
        rows: N.
        parts: consecutive rows: vectors [n, D], and the columns beside them, by name.
    """

    about: Mapping[str, str]
    rows: int
    parts: Iterator[tuple[Floats, Mapping[str, Sequence[str]]]]


def kept(path: Path) -> Kept:
    """What ``foretoken embed`` has written.

    Raises:
        NotFound: if there is no such file.
        InvalidInput: if it is something else.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    if not path.is_file():
        raise NotFound(f"no file {path}")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as e:
        raise InvalidInput(f"{path} is not a Parquet file: {e}") from e
    schema = file.schema_arrow
    kinds = {field.name: field.type for field in schema}
    vectors = kinds.get("embedding", pa.null())
    if "text" not in kinds or not pa.types.is_fixed_size_list(vectors):
        raise InvalidInput(
            f"{path} has no columns `text` and `embedding`, as `foretoken embed --out "
            "NAME.parquet` writes them"
        )
    said = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    about = {k.removeprefix(ABOUT): v for k, v in said.items() if k.startswith(ABOUT)}
    return Kept(about, int(file.metadata.num_rows), _parts(file))


def _parts(file: Any) -> Iterator[tuple[Floats, Mapping[str, Sequence[str]]]]:
    for batch in file.iter_batches(ROWS):
        column = batch.column("embedding")
        vectors = column.flatten().to_numpy().reshape(len(column), -1)
        beside = [name for name in batch.schema.names if name != "embedding"]
        yield vectors, {name: batch.column(name).to_pylist() for name in beside}
