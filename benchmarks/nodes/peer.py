"""DeepWalk by another project, run in its own environment: ``python peer.py EDGES OUT WORKERS``.

Walks and skip-grams are as DeepWalk's authors had them for this graph (Perozzi et al. 2014): 80
walks of 40 nodes from each node, a window of 10, 128 dimensions. Prints the seconds, those to
compile left out.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

WALKS, LENGTH, WINDOW, DIMENSIONS = 80, 40, 10, 128


def embed(edges: str, out: str, workers: int) -> dict[str, float]:
    """Embed the graph in ``edges``, lines of two numbers, to ``out``: float32 [N, D]."""
    from pecanpy import pecanpy  # noqa: PLC0415

    def read() -> pecanpy.FirstOrderUnweighted:
        graph = pecanpy.FirstOrderUnweighted(p=1, q=1, workers=workers, random_state=0)
        graph.read_edg(edges, weighted=False, directed=False)
        return graph

    read().simulate_walks(1, 2)  # compiles
    began, worked = time.perf_counter(), time.process_time()
    graph = read()
    vectors = graph.embed(DIMENSIONS, WALKS, LENGTH, WINDOW)
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - worked}
    order = np.argsort(np.array(graph.nodes, np.int64))
    np.save(out, np.asarray(vectors, np.float32)[order])
    return spent


if __name__ == "__main__":
    print(json.dumps(embed(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
