"""FastRP's request logic: a graph to its nodes' vectors, and nodes to theirs.

A context's one state holds ``vectors`` [1, N, D]; its array ``about`` (JSON) tells options and
notes. Letters: N nodes, M nodes that are asked for, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import cast

import numpy as np

from foretoken.errors import InvalidInput
from foretoken.models.contract import Array, Arrays, Config, Context, Host, Steps, Tensor
from foretoken.models.edges import canonical, count_of
from foretoken.models.fastrp.options import Options
from foretoken.models.tasks import GraphReply, GraphRequest

__all__ = ["NodePredictor"]

INLINE = 1 << 14  # numbers that are read at once, rather than in a thread
SHOWN = 5  # nodes that a note names


class NodePredictor:
    """Answers ``GraphRequest``s; see ``foretoken.models.kinds.InContext``.

    Options of a request are those of ``options.Options``.

    Args:
        config: what options are where a request does not say.
    """

    version = 1
    keeps = (Tensor("vectors", "float32", ("B", "N", "D")),)

    def __init__(self, config: Config) -> None:
        self._defaults = Options.of(config).said()

    def options(self, given: Mapping[str, float | str]) -> dict[str, float | str]:
        """Each option, as given or by default.

        Raises:
            InvalidInput: for an unknown name or an unacceptable value.
        """
        return Options.parse(given, self._defaults).said()

    def lengths(self, request: GraphRequest) -> dict[str, int]:
        """Of ``vectors``.

        Raises:
            InvalidInput: if there is no graph, or an option is not acceptable.
        """
        dimensions = Options.parse(request.options, self._defaults).dimensions
        return {"B": 1, "N": count_of(request), "D": dimensions}

    def notes(self, context: Context) -> tuple[str, ...]:
        """What became of nodes that no edge leaves; every reply repeats it."""
        return tuple(json.loads(context.arrays["about"].tobytes())["notes"])

    def fit(self, request: GraphRequest) -> Steps:
        """Blocks of columns, one after the other, so that others get their turns between them."""
        # These import SciPy, which looking up does without.
        from foretoken.models.fastrp.blocks import add_squares, blocks_of, filled  # noqa: PLC0415
        from foretoken.models.fastrp.scratch import scratch  # noqa: PLC0415
        from foretoken.models.fastrp.walk import walk_of  # noqa: PLC0415

        options = Options.parse(request.options, self._defaults)
        walk = yield Host(lambda: walk_of(canonical(request)))
        N, D = walk.count, options.dimensions
        vectors = yield Host(lambda: scratch((1, N, D)))
        blocks, squares = blocks_of(N, D), None
        if options.normalize:
            squares = np.zeros((len(options.weights), N))
            for columns in blocks:
                yield Host(partial(add_squares, walk, options, columns, squares))
        for columns in blocks:
            yield Host(partial(filled, walk, options, columns, vectors[0], squares))
        notes = _notes(walk.degrees, directed=request.directed)
        said = {"notes": notes, "options": options.said()}
        about = np.frombuffer(json.dumps(said).encode(), np.uint8)
        return Context({"about": about}, ({"vectors": vectors},))

    def predict(self, request: GraphRequest, state: Context | None = None) -> Steps:
        """Rows of the context; without one, of the request's own graph, which is fitted first."""
        context = state if state is not None else (yield from self.fit(request))
        said = json.loads(context.arrays["about"].tobytes())
        _expect_same(request.options, said["options"])
        vectors = cast("Arrays", context.states[0])["vectors"][0]
        nodes, notes = request.nodes, tuple(said["notes"])
        if nodes is None:
            return GraphReply(vectors, len(vectors), notes)
        _expect_known(nodes, len(vectors))
        if nodes.size * vectors.shape[1] <= INLINE:
            found = vectors[nodes]
        else:
            found = yield Host(lambda: vectors[nodes])
        return GraphReply(found, len(vectors), notes)


def _expect_same(given: Mapping[str, float | str], known: Mapping[str, float | str]) -> None:
    asked = Options.parse(given, known).said()
    if changed := sorted(name for name in known if asked[name] != known[name]):
        raise InvalidInput(
            f"options {changed} differ from those that the graph was embedded with: leave them "
            "out, or fit again"
        )


def _expect_known(nodes: Array, count: int) -> None:
    if nodes.size and int(nodes.max()) >= count:
        i = int(np.flatnonzero(nodes >= count)[0])
        raise InvalidInput(
            f"entry {i} of nodes is {nodes[i]}, which is no node of this graph: these are 0 to "
            f"{count - 1}"
        )


def _notes(degrees: Array, *, directed: bool) -> list[str]:
    isolated = np.flatnonzero(degrees == 0)
    if not isolated.size:
        return []
    named = ", ".join(map(str, isolated[:SHOWN].tolist()))
    more = ", ..." if isolated.size > SHOWN else ""
    what = "lead to no other" if directed else "have no edges"
    return [f"{isolated.size} nodes {what} and have vectors of zeros: {named}{more}"]
