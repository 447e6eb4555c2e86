"""The runtime alone, on the server's core: queries whose inputs lie ready."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from benchmarks.load.processes import SERVER
from benchmarks.tables.queries import Question
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import family
from foretoken.models.contract import Arrays, Call, Context, Host, Steps
from foretoken.models.tasks import TabularRequest
from foretoken.models.weights import mapped
from foretoken.server.engine.drive import alone
from foretoken.server.runtimes.onnx import OnnxRuntime

__all__ = ["Bare", "Measured", "calls_of", "clock", "merged"]

R = TypeVar("R")
GRAPH = "query"
BUDGET = 1 << 16  # tokens


class Measured(NamedTuple):
    """Queries per second, processor milliseconds of each, and the median of a call's time."""

    rate: float
    cpu_ms: float
    p50_ms: float


class Bare:
    """ONNX Runtime with one thread.

    Args:
        artefact: published.
    """

    def __init__(self, artefact: Artefact) -> None:
        kind = family(artefact.family)
        self._graphs = {graph.name: graph for graph in kind.graphs(artefact.config)}
        self._runtime = OnnxRuntime().load(artefact, kind, 1)
        self._predictor = cast(
            Any,
            kind.predictor(
                artefact.config, {n: w.array for n, w in mapped(artefact.files[WEIGHTS]).items()}
            ),
        )

    def query(self, asked: Question) -> Arrays:
        """Everything that the graph reads to answer: all members of the ensemble in one call.

        Raises:
            RuntimeError: if the family makes several calls of it.
        """
        request = TabularRequest(train=asked.train, target=asked.labels)
        (context,) = alone([self._predictor.fit(request)], self._graphs, self._runtime.run, BUDGET)
        made: Context = context
        calls = calls_of(self._predictor.predict(TabularRequest(test=asked.test), made))
        if len(calls) != 1 or calls[0].graph != GRAPH:
            raise RuntimeError(f"a question takes {len(calls)} calls; one was expected")
        return {**calls[0].inputs, **cast(Arrays, calls[0].state)}

    def rate(self, queries: Sequence[Arrays], together: int, seconds: float) -> Measured:
        """Measure for so long, with so many queries in one call, merged beforehand."""
        groups = [queries[i : i + together] for i in range(0, len(queries), together)]
        batches = [merged(group) for group in groups if len(group) == together]
        taken: list[float] = []
        with on_core():
            self._runtime.run(GRAPH, batches[0])
            began, cpu = time.perf_counter(), time.process_time()
            while (now := time.perf_counter() - began) < seconds or not taken:
                batch = batches[len(taken) % len(batches)]
                taken.append(clock(partial(self._runtime.run, GRAPH, batch))[0])
        ran = len(taken) * together
        spent = time.process_time() - cpu
        return Measured(ran / now, 1e3 * spent / ran, 1e3 * statistics.median(taken))


def calls_of(steps: Steps) -> list[Call]:
    """The first calls that a predictor makes; its NumPy work is done on the way."""
    asked = next(steps)
    while isinstance(asked, Host):
        asked = steps.send(asked.work())
    return list(cast("Sequence[Call]", asked))


def merged(queries: Sequence[Arrays]) -> Arrays:
    """Queries of one shape as one, stacked along the batch."""
    return {name: np.concatenate([query[name] for query in queries]) for name in queries[0]}


def clock(work: Callable[[], R]) -> tuple[float, R]:
    """Seconds that ``work`` takes, and what it returns."""
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


@contextmanager
def on_core(core: int = SERVER) -> Iterator[None]:
    """Run the block on the server's core; that is idle meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [core])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
