"""Graphs in files, the vectors of their nodes, and who computes them: a server or this process.

Letters: E edges, N nodes, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foretoken.cli.files import expect_file, whole
from foretoken.cli.remote import Remote, client_of
from foretoken.cli.tables import open_table
from foretoken.errors import InvalidInput

if TYPE_CHECKING:
    from foretoken.client import Client
    from foretoken.server.local import LocalPlane

__all__ = ["KINDS", "Edges", "Graphs", "Made", "expect_vectors", "graphs_of", "read", "writing"]

Array = NDArray[Any]
Vectors = NDArray[np.float32]

KINDS = ("npy", "parquet", "csv")
SOURCE, TARGET, WEIGHT = "source", "target", "weight"


@dataclass(frozen=True)
class Edges:
    """A graph.

    Args:
        sources, targets: numbers of nodes, int64 [E].
        weights: float64 [E], or None.
        names: of the nodes [N], if the file has names for them.
    """

    sources: Array
    targets: Array
    weights: Array | None
    names: Array | None


@dataclass(frozen=True)
class Made:
    """A graph whose nodes have vectors: its context, N, D, and what is to be told of it."""

    context: str
    nodes: int
    dimensions: int
    cached: bool
    seconds: float
    notes: tuple[str, ...]


class Graphs(Protocol):
    """Embeds graphs and looks nodes up; errors are those of ``foretoken.errors``."""

    def embed(
        self, model: str, edges: Edges, options: Mapping[str, float | str], **said: Any
    ) -> Made:
        """Embed a graph and keep its vectors; ``said`` are arguments of ``GraphRequest``."""

    def vectors(self, context: str, nodes: Array | None) -> Vectors:
        """Of some nodes, or of all."""


class _Remote:
    def __init__(self, client: Client) -> None:
        self._client = client

    def embed(
        self, model: str, edges: Edges, options: Mapping[str, float | str], **said: Any
    ) -> Made:
        weights = () if edges.weights is None else (edges.weights,)
        graph = (edges.sources, edges.targets, *weights)
        found = self._client.embed_graph(
            model, graph, options=options, timeout=float("inf"), **said
        )
        return Made(
            found.id, found.nodes, found.dimensions, found.cached, found.seconds, found.notes
        )

    def vectors(self, context: str, nodes: Array | None) -> Vectors:
        return self._client.node_vectors(context, nodes, timeout=float("inf"))


class _Local:
    def __init__(self, local: LocalPlane) -> None:
        self._local = local

    def embed(
        self, model: str, edges: Edges, options: Mapping[str, float | str], **said: Any
    ) -> Made:
        from foretoken.models.tasks import GraphRequest  # noqa: PLC0415

        request = GraphRequest(edges.sources, edges.targets, edges.weights, options=options, **said)
        began = time.monotonic()
        fitted = self._local.fit(model, request)
        found = self._asked(fitted.context.id, np.empty(0, np.int64))
        seconds = time.monotonic() - began
        shape = found.count, found.vectors.shape[1]
        return Made(fitted.context.id, *shape, fitted.cached, seconds, tuple(fitted.notes))

    def vectors(self, context: str, nodes: Array | None) -> Vectors:
        found: Vectors = self._asked(context, nodes).vectors
        return found

    def _asked(self, context: str, nodes: Array | None) -> Any:
        from foretoken.models.tasks import GraphRequest  # noqa: PLC0415

        (reply,) = self._local.predict("", [GraphRequest(nodes=nodes, context=context)])
        return reply


@contextmanager
def graphs_of(server: Remote | None, data_dir: Path | None) -> Iterator[Graphs]:
    """A server's, or the data dir's."""
    client = client_of(server, data_dir)
    if client is not None:
        with client:
            yield _Remote(client)
        return
    from foretoken.server.app import open_plane  # noqa: PLC0415 - imports the engine
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    with open_plane(load_settings(data_dir=data_dir)) as local:
        yield _Local(local)


def read(path: Path, *, renumber: bool) -> Edges:
    """The graph in a file with the columns source, target and perhaps weight.

    Args:
        path: CSV or Parquet by suffix.
        renumber: number the nodes anew, in order of the integers that name them in the file; texts
            are numbered anyway.

    Raises:
        NotFound, InvalidInput, Unavailable: as ``open_table``; or the columns are others.
    """
    table = open_table(path)
    if not {SOURCE, TARGET} <= set(table.names) <= {SOURCE, TARGET, WEIGHT}:
        raise InvalidInput(
            f"{path} has the columns {', '.join(table.names)}; those of a graph are source, target "
            "and, if edges have weights, weight"
        )
    if not table.rows:
        raise InvalidInput(f"{path} has no edges")
    parts = list(table.chunks(table.rows, table.names))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in table.names}
    sources, targets = columns[SOURCE], columns[TARGET]
    kinds = {sources.dtype.kind, targets.dtype.kind}
    if kinds not in ({"i"}, {"O"}):
        raise InvalidInput(
            f"{path}: source and target are numbers of nodes, or names, in every row of both"
        )
    names = None
    if renumber or kinds == {"O"}:
        sources, targets, names = _numbered(path, sources, targets)
    return Edges(sources, targets, columns.get(WEIGHT), names)


def _numbered(path: Path, sources: Array, targets: Array) -> tuple[Array, Array, Array]:
    both = np.concatenate([sources, targets])
    if both.dtype.kind == "O":
        missing = np.flatnonzero([value is None for value in both])
        if missing.size:
            raise InvalidInput(f"{path}: the edge {missing[0] % len(sources) + 1} lacks an end")
        both = both.astype(str)
    names, places = np.unique(both, return_inverse=True)
    return places[: len(sources)], places[len(sources) :], names


def expect_vectors(path: Path) -> None:
    """Refuse a path that vectors cannot be written to, before any work is done for it.

    Raises:
        InvalidInput: then.
    """
    expect_file(path, KINDS)


@contextmanager
def writing(path: Path, rows: int, dimensions: int) -> Iterator[Callable[[Array, Vectors], None]]:
    """Yields what appends nodes and their vectors; the file is there once the block has ended well.

    ``.npy`` holds float32 [rows, D] alone; ``.parquet`` the columns ``node`` and ``vector``, a
    list; ``.csv`` the columns ``node``, ``v0``, ``v1``, ...

    Raises:
        InvalidInput, Unavailable: if it cannot be written.
    """
    with whole(path) as temporary:
        match path.suffix.lower():
            case ".npy":
                with _npy(temporary, rows, dimensions) as write:
                    yield write
            case ".parquet":
                with _parquet(temporary, dimensions) as write:
                    yield write
            case _:
                with _csv(temporary, dimensions) as write:
                    yield write


@contextmanager
def _npy(path: Path, rows: int, dimensions: int) -> Iterator[Callable[[Array, Vectors], None]]:
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimensions)}
        np.lib.format.write_array_header_1_0(file, header)
        yield lambda _nodes, vectors: _write(file, vectors)


def _write(file: Any, vectors: Vectors) -> None:
    file.write(np.ascontiguousarray(vectors, "<f4").data)


@contextmanager
def _parquet(path: Path, dimensions: int) -> Iterator[Callable[[Array, Vectors], None]]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    writers: list[Any] = []

    def write(nodes: Array, vectors: Vectors) -> None:
        flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
        listed = pa.FixedSizeListArray.from_arrays(flat, dimensions)
        table = pa.table({"node": pa.array(nodes), "vector": listed})
        if not writers:
            writers.append(pq.ParquetWriter(path, table.schema))
        writers[0].write_table(table)

    try:
        yield write
    finally:
        for writer in writers:
            writer.close()


@contextmanager
def _csv(path: Path, dimensions: int) -> Iterator[Callable[[Array, Vectors], None]]:
    import csv  # noqa: PLC0415

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["node", *(f"v{i}" for i in range(dimensions))])

        def write(nodes: Array, vectors: Vectors) -> None:
            rows = zip(nodes.tolist(), vectors.tolist(), strict=True)
            writer.writerows([node, *(f"{x:.9g}" for x in row)] for node, row in rows)

        yield write
