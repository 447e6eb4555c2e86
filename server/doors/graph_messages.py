"""Graphs on the wire to typed requests, within the server's limits.

Letters: E edges, N nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import GraphRequest
from foretoken.proto import graphs as wire
from foretoken.server.contexts.limits import expect_graph
from foretoken.server.doors.tables import option_value
from foretoken.server.settings import Settings

__all__ = ["graph", "ids"]

COLUMNS = ("source", "target", "weight")
_WIDTHS = {"wide": "<i8", "narrow": "<i4"}


class _Edges(NamedTuple):
    sources: Array
    targets: Array
    weights: Array | None
    nodes: int | None


def graph(asked: wire.EmbedGraphRequest, settings: Settings) -> GraphRequest:
    """The graph and the options of a message as a request to fit.

    Raises:
        InvalidInput: naming the field or limit, and what would be accepted.
    """
    said = asked.graph
    form = said.WhichOneof("form")
    if form is None:
        raise InvalidInput("the graph is empty; give edges, csr, an Arrow stream or CSV")
    found = _READERS[form](said, settings)
    if said.nodes < 0:
        raise InvalidInput(f"nodes is {said.nodes}; give how many there are, or 0 to count them")
    if said.nodes and found.nodes not in (None, said.nodes):
        raise InvalidInput(f"nodes is {said.nodes}, but csr has {found.nodes} rows; leave it out")
    return GraphRequest(
        found.sources,
        found.targets,
        found.weights,
        count=said.nodes or found.nodes,
        directed=said.directed,
        self_loops=said.self_loops or "refuse",
        duplicates=said.duplicates or "refuse",
        options={name: option_value(name, option) for name, option in asked.options.items()},
    )


def ids(what: str, said: wire.Ids) -> Array:
    """Integers, int64 or int32; a view of the message's bytes.

    Raises:
        InvalidInput: if the bytes are no whole number of them.
    """
    kind = said.WhichOneof("values")
    if kind is None:
        return np.empty(0, np.int64)
    return _numbers(what, getattr(said, kind), _WIDTHS[kind])


def _numbers(what: str, data: bytes, dtype: str) -> Array:
    size = np.dtype(dtype).itemsize
    if len(data) % size:
        raise InvalidInput(f"{what} has {len(data)} bytes of {dtype[1:]}, {size} bytes each")
    return np.frombuffer(data, dtype)


def _weights(data: bytes) -> Array | None:
    return _numbers("weights", data, "<f8") if data else None


def _of_edges(said: wire.Graph, settings: Settings) -> _Edges:
    edges = said.edges
    sources, targets = ids("sources", edges.sources), ids("targets", edges.targets)
    expect_graph(max(len(sources), len(targets)), 0, settings)
    return _Edges(sources, targets, _weights(edges.weights), None)


def _of_csr(said: wire.Graph, settings: Settings) -> _Edges:
    csr = said.csr
    starts, columns = ids("starts", csr.starts), ids("columns", csr.columns)
    E, N = len(columns), len(starts) - 1
    expect_graph(E, N, settings)
    if N < 1 or starts[0] != 0 or starts[-1] != E or (starts[1:] < starts[:-1]).any():
        raise InvalidInput(
            f"starts must rise from 0 to {E}, the number of columns, and have one entry more than "
            "there are nodes"
        )
    sources = np.repeat(np.arange(N, dtype=columns.dtype), np.diff(starts))
    return _Edges(sources, columns, _weights(csr.weights), N)


def _of_arrow(said: wire.Graph, settings: Settings) -> _Edges:
    from foretoken.server.doors.arrow import from_arrow  # noqa: PLC0415 - imports pyarrow

    return _of_table(from_arrow(said.arrow, _sizes(settings)))


def _of_csv(said: wire.Graph, settings: Settings) -> _Edges:
    from foretoken.server.doors.arrow import from_csv  # noqa: PLC0415 - imports pyarrow

    return _of_table(from_csv(said.csv, _sizes(settings)))


def _sizes(settings: Settings) -> Callable[[int, int], None]:
    def expect(rows: int, columns: int) -> None:
        expect_graph(rows, 0, settings)
        if columns > len(COLUMNS):
            raise InvalidInput(
                f"the table has {columns} columns; those of a graph are {', '.join(COLUMNS)}"
            )

    return expect


def _of_table(columns: Mapping[str, Array]) -> _Edges:
    missing = sorted(set(COLUMNS[:2]) - set(columns))
    unknown = sorted(set(columns) - set(COLUMNS))
    if missing or unknown:
        raise InvalidInput(
            f"the table has the columns {', '.join(columns)}; those of a graph are source, target "
            "and, if edges have weights, weight"
        )
    source, target, weight = (columns.get(name) for name in COLUMNS)
    assert source is not None
    assert target is not None
    return _Edges(source, target, weight, None)


_READERS = {"edges": _of_edges, "csr": _of_csr, "arrow": _of_arrow, "csv": _of_csv}
