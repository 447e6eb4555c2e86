"""Many callers with a curve each: what the wire gives of the runtime's own batched throughput.

    python -m benchmarks.batching [--rounds N] [--seconds S]

64 callers ask for one curve at a time, 50 points seen and 50 steps asked for ("equal"), or 10 to 60
seen and 20 to 80 asked for ("mixed"). Beside them ONNX Runtime runs the same graph in this process
on the same core, batches of the size that the server's had, padded likewise where curves differ,
and does nothing else: no wire, no quantiles. One server batches, another runs every call alone;
each is measured in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load.house import Server, serving
from benchmarks.load.messages import curve
from benchmarks.load.processes import SERVER, generate
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled, family
from foretoken.models.contract import Arrays
from foretoken.server.engine.batches import merge, sizes
from foretoken.server.runtimes.onnx import OnnxRuntime

CALLERS = 64
AIM = 0.7
CURVES = 256  # different ones
ALONE = 1  # token: every call is larger, and so a batch of its own
BATCHES = 20  # of a measurement of the bare runtime


@dataclass(frozen=True)
class Curve:
    """What was seen, from step 1 on, and the steps asked for."""

    values: np.ndarray[Any, np.dtype[np.float64]]
    at: np.ndarray[Any, np.dtype[np.float64]]

    def inputs(self) -> Arrays:
        """Of the graph, with one row."""
        n = len(self.values)
        return {
            "steps": np.arange(1, n + 1, dtype=np.float32)[None],
            "values": self.values.astype(np.float32)[None],
            "n": np.array([n]),
            "at": self.at.astype(np.float32)[None],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    args = parser.parse_args()
    result: dict[str, Any] = {"callers": CALLERS, "aim": AIM, "model": "lcpfn"}
    with servers() as (batching, alone):
        for name, curves in {"equal": equal(), "mixed": mixed()}.items():
            result[name] = compared(curves, batching, alone, args.rounds, args.seconds)
            show(name, result[name])
    keep("batching", {**result, "load": os.getloadavg()})


@contextmanager
def servers() -> Iterator[tuple[Server, Server]]:
    """One that batches and one that does not, on one core; only one has work at a time."""
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        serving(Path(one), threads=1) as batching,
        serving(Path(two), threads=1, batch_tokens=ALONE) as alone,
    ):
        yield batching, alone


def equal() -> list[Curve]:
    """50 seen, 50 asked for."""
    return made([(50, 50)] * CURVES)


def mixed() -> list[Curve]:
    """10 to 60 seen, 20 to 80 asked for."""
    rng = np.random.default_rng(1)
    return made(list(zip(rng.integers(10, 61, CURVES), rng.integers(20, 81, CURVES), strict=True)))


def made(lengths: Sequence[tuple[int, int]]) -> list[Curve]:
    rng = np.random.default_rng(0)
    return [
        Curve(np.sort(rng.random(seen)), np.arange(seen + 1.0, seen + asked + 1))
        for seen, asked in lengths
    ]


def compared(
    curves: Sequence[Curve], batching: Server, alone: Server, rounds: int, seconds: float
) -> dict[str, Any]:
    """Medians of rounds in which each side is measured once."""
    runtime = Bare(curves)
    found: dict[str, list[float]] = {"wire": [], "alone": [], "bare": [], "bare, alone": []}
    shapes: list[tuple[float, float]] = []
    for _ in range(rounds):
        with counted(batching) as shape:
            found["wire"].append(through(batching, curves, seconds))
        shapes.append((shape.rows, shape.padding))
        found["alone"].append(through(alone, curves, seconds))
        found["bare"].append(runtime.rate(max(1, round(shape.rows))))
        found["bare, alone"].append(runtime.rate(1))
    rates = {name: statistics.median(each) for name, each in found.items()}
    shares = [wire / bare for wire, bare in zip(found["wire"], found["bare"], strict=True)]
    rows, padding = (statistics.median(column) for column in zip(*shapes, strict=True))
    return {
        "curves_per_s": rates,
        "of_bare": statistics.median(shares),
        "of_alone": rates["wire"] / rates["alone"],
        "rows": rows,
        "padding": padding,
    }


def through(server: Server, curves: Sequence[Curve], seconds: float) -> float:
    """Curves per second over the wire."""
    payloads = tuple(curve(each.values, each.at) for each in curves)
    result = generate(server.job(*payloads, callers=CALLERS, seconds=seconds))
    if result.failed:
        raise RuntimeError(f"{result.failed} calls failed: {result.details}")
    return result.rate


class Shape:
    """Mean rows of the batches that ran, and the share of their tokens that was padding."""

    rows = padding = 0.0


@contextmanager
def counted(server: Server) -> Iterator[Shape]:
    """Count the batches of what the block does."""
    shape, before = Shape(), counts(server)
    yield shape
    time.sleep(1.0)  # workers share their counts every half second
    batches, rows, real, padding = (b - a for a, b in zip(before, counts(server), strict=True))
    shape.rows, shape.padding = rows / batches, padding / (real + padding)


def counts(server: Server) -> tuple[float, ...]:
    """Batches, rows, tokens, padding; since the start."""
    rows, tokens = "foretoken_batch_rows", "foretoken_batch_tokens_total"
    return (
        server.total(f"{rows}_count", model="lcpfn"),
        server.total(f"{rows}_sum", model="lcpfn"),
        server.total(tokens, model="lcpfn", content="real"),
        server.total(tokens, model="lcpfn", content="padding"),
    )


class Bare:
    """The runtime alone, on the server's core."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        lcpfn = family("lcpfn")
        artefact = Artefact.read(bundled()["lcpfn"])
        (self._graph,) = lcpfn.graphs(artefact.config)
        self._runtime = OnnxRuntime().load(artefact, lcpfn, 1)
        by_length = sorted(curves, key=lambda each: len(each.values) + len(each.at))
        self._inputs = [each.inputs() for each in by_length]

    def rate(self, rows: int) -> float:
        """Curves per second in batches of ``rows``, of similar lengths, spread over all lengths."""
        inputs = self._graph.inputs
        starts = np.linspace(0, len(self._inputs) - rows, BATCHES).astype(int)
        parts = [self._inputs[start : start + rows] for start in starts]
        batches = [merge(inputs, part, [sizes(inputs, each) for each in part]) for part in parts]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, [SERVER])
        try:
            self._runtime.run("forward", batches[0])
            began = time.perf_counter()
            for batch in batches:
                self._runtime.run("forward", batch)
            return rows * BATCHES / (time.perf_counter() - began)
        finally:
            os.sched_setaffinity(0, before)


def show(name: str, row: dict[str, Any]) -> None:
    rates = row["curves_per_s"]
    print(
        f"\n{name}: {CALLERS} callers, batches of {row['rows']:.1f} rows, "
        f"{100 * row['padding']:.1f} % padding\n"
        f"  through the wire, batching   {rates['wire']:7.0f} curves/s\n"
        f"  through the wire, each alone {rates['alone']:7.0f} curves/s   "
        f"batching gives {row['of_alone']:.2f}x\n"
        f"  bare runtime, same batches   {rates['bare']:7.0f} curves/s   "
        f"the wire reaches {row['of_bare']:.2f} of it (aim {AIM})\n"
        f"  bare runtime, one by one     {rates['bare, alone']:7.0f} curves/s"
    )


if __name__ == "__main__":
    main()
