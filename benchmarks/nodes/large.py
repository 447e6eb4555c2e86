"""A large graph through a plane, alone in a process: ``python -m benchmarks.nodes.large N E D``.

Prints seconds of each step and the peak of its memory, of which what lies in files may be taken
away at any time.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.tasks import GraphRequest
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings

LOOKED_UP = 1000  # nodes
SKEW = 2.0  # a node's share of the ends is like a power law's, with exponent 1 + 1 / (1 - 1 / SKEW)


def main() -> None:
    N, E, D = map(int, sys.argv[1:])
    sources, targets = graph(N, E)
    said: dict[str, Any] = {"nodes": N, "edges": len(sources), "dimensions": D}
    watch = Watch()
    before = watch.peaks()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Registry.open(Path(scratch) / "data") as registry,
        LocalPlane(registry, load_settings(data_dir=Path(scratch) / "data")) as plane,
    ):
        registry.register("fastrp", Artefact.read(bundled()["fastrp"]))
        plane.fit("fastrp", GraphRequest(np.array([0]), np.array([1])))  # loads it
        request = GraphRequest(sources, targets, count=N, options={"dimensions": D})
        began, worked = time.perf_counter(), time.process_time()
        fitted = plane.fit("fastrp", request)
        said["seconds"] = time.perf_counter() - began
        said["cpu_seconds"] = time.process_time() - worked
        began = time.perf_counter()
        again = plane.fit("fastrp", request)
        said["seconds_again"] = time.perf_counter() - began
        nodes = np.random.default_rng(1).integers(0, N, LOOKED_UP)
        asked = GraphRequest(nodes=nodes, context=fitted.context.id)
        began = time.perf_counter()
        (reply,) = plane.predict("", [asked])
        said["seconds_to_look_1000_up"] = time.perf_counter() - began
    watch.stop()
    after = watch.peaks()
    expect(fitted.cached is False and again.cached, "the second fit was no HIT")
    expect(reply.vectors.shape == (LOOKED_UP, D) and np.isfinite(reply.vectors).all(), "no vectors")
    said["vector_bytes"] = fitted.context.nbytes
    said["graph_bytes"] = sources.nbytes + targets.nbytes
    said["resident_before_bytes"] = before["resident"]
    said["peak_bytes"] = after["anonymous"]
    said["peak_with_files_bytes"] = after["resident"]
    print(json.dumps(said))


def graph(N: int, E: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """E different undirected edges among N nodes, some of which have many."""
    rng = np.random.default_rng(0)
    codes = np.empty(0, np.int64)
    while len(codes) < E:
        ends = (N * rng.random((2, E - len(codes) + E // 20)) ** SKEW).astype(np.int64)
        low, high = ends.min(axis=0), ends.max(axis=0)
        codes = np.unique(np.concatenate([codes, (low * N + high)[low != high]]))
    codes = rng.permutation(codes)[:E]
    places = rng.permutation(N).astype(np.int32)  # nodes of many edges are anywhere
    return places[codes // N], places[codes % N]


class Watch:
    """Looks at the memory of this process many times a second."""

    def __init__(self) -> None:
        self._peaks = {"anonymous": 0, "resident": 0}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def peaks(self) -> dict[str, int]:
        """Bytes so far."""
        self._note()
        return dict(self._peaks)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self._note()

    def _note(self) -> None:
        text = Path("/proc/self/status").read_text("utf-8")
        for name, field in (("anonymous", "RssAnon"), ("resident", "VmRSS")):
            found = re.search(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
            assert found is not None
            self._peaks[name] = max(self._peaks[name], 1024 * int(found[1]))


def expect(true: bool, otherwise: str) -> None:
    if not true:
        raise RuntimeError(otherwise)


if __name__ == "__main__":
    main()
