"""Graphs in canonical form: what says the same edges becomes the same arrays.

It is what graphs are named by and what models read, so that an answer never depends on the order in
which edges came. Letters: E edges, N nodes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array
from foretoken.models.tasks import GraphRequest

__all__ = ["LARGEST", "canonical", "count_of"]

LARGEST = np.iinfo(np.int32).max  # nodes of a graph

Ints = NDArray[np.int64]


def count_of(request: GraphRequest) -> int:
    """Nodes N of the request's graph.

    Raises:
        InvalidInput: if it brings no graph, one without edges, or one of too many nodes.
    """
    if request.sources is None or request.targets is None:
        raise InvalidInput("there is no graph: give sources and targets of its edges, or a context")
    if not request.sources.size:
        raise InvalidInput("the graph has no edges, so nothing tells its nodes apart: give some")
    count = request.count
    if count is None:
        count = max(int(request.sources.max()), int(request.targets.max())) + 1
    if count > LARGEST:
        raise InvalidInput(f"the graph has {count} nodes; at most {LARGEST} are taken")
    return count


def canonical(request: GraphRequest) -> GraphRequest:
    """The request with its graph in canonical form; what has it already is returned as it is.

    Edges are int32 [E], sorted by source, then target, each there once; those of undirected graphs
    begin at the lower number. ``count`` is said, and ``weights`` are None if all are 1.

    Raises:
        InvalidInput: as ``count_of``; or for self-loops or duplicates that are to be refused, or an
            undirected edge with two weights.
    """
    N = count_of(request)
    assert request.sources is not None
    assert request.targets is not None
    sources = request.sources.astype(np.int64, copy=False)
    targets = request.targets.astype(np.int64, copy=False)
    if _is_canonical(request, sources, targets, N):
        return request
    weights = None if request.weights is None else request.weights.astype(np.float64, copy=False)
    if request.self_loops != "keep" and (loops := sources == targets).any():
        if request.self_loops == "refuse":
            node = int(sources[np.argmax(loops)])
            raise InvalidInput(
                f"node {node} has an edge to itself, as {int(loops.sum())} edges are; pass "
                "self_loops='keep' to have a walk stay there, or 'drop' to leave them out"
            )
        sources, targets = sources[~loops], targets[~loops]
        weights = None if weights is None else weights[~loops]
        if not sources.size:
            raise InvalidInput("the graph has no edges but from nodes to themselves: give some")
    codes, weights = _merged(request, *_coded(request, sources, targets, weights, N), N)
    if weights is not None and (weights == 1.0).all():
        weights = None
    return replace(
        request,
        sources=(codes // N).astype(np.int32),
        targets=(codes % N).astype(np.int32),
        weights=weights,
        count=N,
        self_loops="keep",
        duplicates="sum",
    )


def _is_canonical(request: GraphRequest, sources: Ints, targets: Ints, N: int) -> bool:
    if request.count is None or (request.self_loops, request.duplicates) != ("keep", "sum"):
        return False
    assert request.sources is not None
    if request.sources.dtype != np.int32 or not (request.directed or (sources <= targets).all()):
        return False
    weights = request.weights
    plain = weights is not None and (weights.dtype != np.float64 or (weights == 1.0).all())
    codes = sources * N + targets
    return not plain and bool((codes[1:] > codes[:-1]).all())


def _coded(
    request: GraphRequest, sources: Ints, targets: Ints, weights: Array | None, N: int
) -> tuple[Ints, Array | None]:
    """Edges as sorted numbers, whose lowest bit tells those that came from their end apart.

    Where all that is given of an edge is summed, it does not matter from where.
    """
    if request.directed:
        codes = 2 * (sources * N + targets)
    else:
        codes = 2 * (np.minimum(sources, targets) * N + np.maximum(sources, targets))
        if request.duplicates == "refuse":
            codes += sources > targets
    if (codes[1:] >= codes[:-1]).all():
        return codes, weights
    if weights is None:
        return np.sort(codes), None
    order = np.argsort(codes, kind="stable")
    return codes[order], weights[order]


def _merged(
    request: GraphRequest, codes: Ints, weights: Array | None, N: int
) -> tuple[Ints, Array | None]:
    """Each edge once, without the lowest bit."""
    first = np.concatenate(([True], codes[1:] != codes[:-1]))
    if not first.all():
        if request.duplicates == "refuse":
            source, target = _ends(codes[np.argmin(first)], N)
            raise InvalidInput(
                f"the edge from {source} to {target} is given more than once, as "
                f"{int((~first).sum())} edges are; pass duplicates='sum' to add their weights"
            )
        starts = np.flatnonzero(first)
        given = np.ones(len(codes)) if weights is None else weights
        codes, weights = codes[starts], np.add.reduceat(given, starts)
    codes = codes >> 1
    again = np.concatenate(([False], codes[1:] == codes[:-1]))
    if not again.any():
        return codes, weights
    if weights is not None:
        places = np.flatnonzero(again)
        differing = weights[places] != weights[places - 1]
        if differing.any():
            place = int(places[np.argmax(differing)])
            one, other = (int(n) for n in divmod(int(codes[place]), N))
            raise InvalidInput(
                f"the edge between {one} and {other} has weight {weights[place - 1]:g} in one "
                f"direction and {weights[place]:g} in the other: give one, or directed=True"
            )
        weights = weights[~again]
    return codes[~again], weights


def _ends(code: int, N: int) -> tuple[int, int]:
    source, target = divmod(int(code) >> 1, N)
    return (target, source) if code & 1 else (source, target)
