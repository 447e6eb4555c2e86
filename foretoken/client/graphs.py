"""Graphs: what is sent to embed their nodes and to look vectors up, and how replies are read.

Letters: E edges, N nodes, M nodes that are asked for, D dimensions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.client.methods import method
from foretoken.client.operations import Steps, Unary, message
from foretoken.client.tables import columns_of, table_message
from foretoken.client.tabular import id_of, option
from foretoken.errors import InternalError, InvalidInput
from foretoken.proto import graphs as wire
from foretoken.proto import tabular
from foretoken.records import Record

__all__ = ["Embedded", "GraphLike", "embedded", "graph_message", "vectors"]

# A tuple (sources, targets) or (sources, targets, weights); a list or array [E, 2] of pairs; a
# matrix of SciPy in compressed sparse rows; or a table with the columns source, target and perhaps
# weight, as in ``tables.TableLike``: columns by name, bytes of an Arrow stream or of CSV, a path.
GraphLike: TypeAlias = Sequence[ArrayLike] | NDArray[Any] | Mapping[str, ArrayLike] | bytes | Any
Ints = NDArray[np.int64]

COLUMNS = ("source", "target", "weight")
FIRST = 256  # nodes that are looked up before it is known how long vectors are
NUMBERS = 1 << 22  # of one reply


@dataclass(frozen=True)
class Embedded(Record):
    """A graph whose nodes have vectors, which a server keeps.

    Args:
        id: of the context.
        nodes: N of the graph.
        dimensions: D of the vectors.
        nbytes: of all vectors.
        cached: whether they had been computed before.
        model: that computed them.
        version: of it.
        seconds: that it took.
        notes: choices that were made for the caller, such as what nodes without edges get.
    """

    id: str
    nodes: int
    dimensions: int
    nbytes: int
    cached: bool
    model: str
    version: int
    seconds: float
    notes: tuple[str, ...] = ()


def graph_message(
    given: GraphLike,
    *,
    directed: bool = False,
    count: int | None = None,
    self_loops: str = "refuse",
    duplicates: str = "refuse",
) -> wire.Graph:
    """A graph as the wire has it.

    Raises:
        InvalidInput: if it is none, or its ends are not integers.
        NotFound: if it is the path of no file.
    """
    said = {
        "directed": directed,
        "nodes": count,
        "self_loops": self_loops,
        "duplicates": duplicates,
    }
    if isinstance(given, bytes | bytearray | memoryview | str | os.PathLike):
        table = table_message(given)
        form = str(table.WhichOneof("form"))
        return message(wire.Graph, **{form: getattr(table, form)}, **said)
    if hasattr(given, "indptr") and hasattr(given, "indices"):
        return message(wire.Graph, csr=_csr(given), **said)
    return message(wire.Graph, edges=_edges(*_ends(given)), **said)


def embedded(
    model: str, graph: wire.Graph, options: Mapping[str, float | str] | None, key: str | None
) -> Steps[Embedded]:
    """Embed the nodes of a graph."""
    request = message(
        wire.EmbedGraphRequest,
        model=model,
        graph=graph,
        options={name: option(name, value) for name, value in (options or {}).items()},
        key=key,
    )
    said = yield Unary(method("Embeddings.EmbedGraph"), request)
    return Embedded(
        id=said.context_id,
        nodes=said.nodes,
        dimensions=said.dimensions,
        nbytes=said.nbytes,
        cached=said.cache == tabular.HIT,
        model=said.model,
        version=said.version,
        seconds=said.seconds,
        notes=tuple(said.notes),
    )


def vectors(context: Any, nodes: ArrayLike | None) -> Steps[NDArray[np.float32]]:
    """Vectors of some nodes or of all, float32 [M, D], in as many calls as it takes."""
    kept = id_of(context)
    asked = None if nodes is None else _ids("nodes", nodes)
    first = np.empty(0, np.int64) if asked is None else asked[:FIRST]
    count, found = yield from _looked_up(kept, first)
    if asked is None:
        asked = np.arange(count)
    made = np.empty((len(asked), found.shape[1]), np.float32)
    made[: len(found)] = found
    step = max(1, NUMBERS // max(1, found.shape[1]))
    for start in range(len(found), len(asked), step):
        _, made[start : start + step] = yield from _looked_up(kept, asked[start : start + step])
    return made


def _looked_up(kept: str, nodes: Ints) -> Steps[tuple[int, NDArray[np.float32]]]:
    """How many nodes there are, and vectors of some."""
    request = message(wire.EmbedGraphRequest, context_id=kept, nodes=_ids_message(nodes))
    said = yield Unary(method("Embeddings.EmbedGraph"), request)
    data = np.frombuffer(said.vectors, "<f4")
    if data.size != len(nodes) * said.dimensions:
        raise InternalError(f"the reply has {data.size} numbers for {len(nodes)} nodes", id="")
    return said.nodes, data.reshape(len(nodes), said.dimensions)


def _ends(given: Any) -> tuple[Any, Any, Any]:
    """Sources, targets and weights, of which the last may be None."""
    if hasattr(given, "keys"):
        columns = columns_of(given)
        if not set(COLUMNS[:2]) <= set(columns) <= set(COLUMNS):
            raise InvalidInput(
                f"the table has the columns {', '.join(columns)}; those of a graph are source, "
                "target and, if edges have weights, weight"
            )
        return columns["source"], columns["target"], columns.get("weight")
    if isinstance(given, tuple) and len(given) in (2, 3):
        return given[0], given[1], given[2] if len(given) == 3 else None
    pairs = _pairs(given)
    if pairs is None:
        raise InvalidInput(
            "a graph is a tuple (sources, targets) or (sources, targets, weights), a list or array "
            "[E, 2] of pairs, a matrix in compressed sparse rows, or a table, not a "
            f"{type(given).__name__}"
        )
    return pairs[:, 0], pairs[:, 1], None


def _pairs(given: Any) -> NDArray[Any] | None:
    """Pairs [E, 2], if they are that. A list is never of sources and targets, or two pairs are."""
    if not isinstance(given, list | np.ndarray):
        return None
    try:
        made = np.asarray(given)
    except ValueError:  # of rows of several lengths
        return None
    return made if made.ndim == 2 and made.shape[1] == 2 else None


def _edges(sources: Any, targets: Any, weights: Any) -> wire.Edges:
    return message(
        wire.Edges,
        sources=_ids_message(_ids("sources", sources)),
        targets=_ids_message(_ids("targets", targets)),
        weights=None if weights is None else _weights(weights),
    )


def _csr(given: Any) -> wire.Csr:
    rows, columns = given.shape
    if getattr(given, "format", "csr") != "csr" or rows != columns:
        raise InvalidInput(
            f"a graph's matrix has rows and columns for its nodes, in compressed sparse rows, not "
            f"{given.format} of shape {given.shape}; see its method tocsr()"
        )
    weights = np.asarray(given.data)
    return message(
        wire.Csr,
        starts=_ids_message(_ids("indptr", given.indptr)),
        columns=_ids_message(_ids("indices", given.indices)),
        weights=None if (weights == 1).all() else _weights(weights),
    )


def _ids(what: str, given: ArrayLike) -> Ints:
    array = np.asarray(given)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInput(
            f"{what} must be a list of integers, not {array.dtype} of shape {array.shape}: number "
            "the nodes from 0"
        )
    return array.astype(np.int64, copy=False)


def _ids_message(ids: Ints) -> wire.Ids:
    limits = np.iinfo(np.int32)
    if not ids.size or (ids.min() >= limits.min and ids.max() <= limits.max):
        return wire.Ids(narrow=ids.astype("<i4").tobytes())
    return wire.Ids(wide=ids.astype("<i8", copy=False).tobytes())


def _weights(given: ArrayLike) -> bytes:
    try:
        return np.asarray(given, "<f8").tobytes()
    except (TypeError, ValueError) as e:
        raise InvalidInput(f"weights must be numbers: {e}") from e
