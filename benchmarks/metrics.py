"""What metrics cost one unary call, beside prometheus_client's own counters and histograms.

    python -m benchmarks.metrics

Both sides count the same for one call that had a batch to itself: two counters by label, five
histograms, three plain sums and a gauge. The other side is prometheus_client in its multiprocess
mode, in which several workers can be added up, with its children bound beforehand. What ours adds
outside of calls, writing its counts twice a second and one scrape of four workers, is measured with
10 and with 200 models in the labels, one of which is at work.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import interleaved, keep
from foretoken.server.engine.observer import Batch, Served
from foretoken.server.metrics import Metrics
from foretoken.server.metrics.definitions import ROWS, SECONDS
from foretoken.server.metrics.shares import Share

INFER = "/inference.GRPCInferenceService/ModelInfer"
CALLS = 20_000


def ours(model: str = "lcpfn", counted: Metrics | None = None) -> Callable[[], None]:
    """Count one call with our metrics."""
    counted = counted or Metrics()
    batch = Batch(model, 1, "forward", 1, 14, 16, (0.001,), 0.004)
    served = Served(model, 1, 0.001, 0.004, 0.0055, "")

    def count() -> None:
        counted.waiting(model, 1)
        counted.waiting(model, 0)
        counted.batch(batch)
        counted.served(served)
        counted.rpc(INFER, model, "OK", 0.006, 0.0003)

    return count


def theirs(folder: str) -> Callable[[], None]:
    """Count the same with prometheus_client."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # is read at the import
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram  # noqa: PLC0415

    registry = CollectorRegistry()
    rpcs = Counter("rpcs", "x", ["method", "code"], registry=registry).labels(INFER, "OK")
    requests = Counter("requests", "x", ["model", "o"], registry=registry).labels("lcpfn", "ok")
    sums = Counter("tokens", "x", ["model", "kind"], registry=registry)
    real, padding = sums.labels("lcpfn", "real"), sums.labels("lcpfn", "padding")
    names = ("rpc", "request", "queue", "compute", "encode")
    seconds = [
        Histogram(name, "x", ["label"], buckets=SECONDS, registry=registry).labels("lcpfn")
        for name in names
    ]
    rows = Histogram("rows", "x", ["model"], buckets=ROWS, registry=registry).labels("lcpfn")
    waiting = Gauge(
        "waiting", "x", ["model"], multiprocess_mode="livesum", registry=registry
    ).labels("lcpfn")

    def count() -> None:
        waiting.set(1)
        waiting.set(0)
        rows.observe(1)
        real.inc(14)
        padding.inc(2)
        requests.inc()
        rpcs.inc()
        for histogram, value in zip(seconds, (0.006, 0.0055, 0.001, 0.004, 0.0003), strict=True):
            histogram.observe(value)

    return count


async def beside(models: int, workers: int = 4) -> dict[str, float]:
    """Milliseconds of a writing, of a scrape, and of what of these holds up the event loop."""
    with tempfile.TemporaryDirectory() as folder:
        counted = Metrics(Path(folder))
        for number in range(models):
            ours(f"model-{number}", counted)()
        own = await counted.cells()
        for pid in range(1, workers):
            Share(Path(folder), pid).write(own)
        share, busy = Share(Path(folder), workers), ours("model-0", counted)
        await counted.text()  # imports
        loop = asyncio.get_running_loop()
        longest, scraping = 0.0, loop.create_task(counted.text())
        began = before = time.perf_counter()
        while not scraping.done():
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        scrape = time.perf_counter() - began

        def write() -> None:
            busy()
            share.write(counted._own())

        taken = interleaved({"copy": counted._own, "copy and write": write}, calls=5)
        return {
            "models": models,
            "series": len(own),
            "copy_on_the_loop_ms": taken["copy"] * 1e3,
            "write_in_a_thread_ms": (taken["copy and write"] - taken["copy"]) * 1e3,
            "scrape_ms": scrape * 1e3,
            "loop_held_up_by_a_scrape_ms": longest * 1e3,
        }


def main() -> None:
    """Measure, print and keep."""
    with tempfile.TemporaryDirectory() as folder:
        sides = {"ours": ours(), "prometheus_client": theirs(folder)}
        seconds = interleaved(sides, calls=CALLS)
    per_call = {side: taken * 1e6 for side, taken in seconds.items()}
    ratio = per_call["prometheus_client"] / per_call["ours"]
    print(
        f"a unary call: ours {per_call['ours']:.1f} µs, prometheus_client "
        f"{per_call['prometheus_client']:.1f} µs ({ratio:.1f} times as much)"
    )
    besides = [asyncio.run(beside(models)) for models in (10, 200)]
    for figures in besides:
        print(", ".join(f"{name} {value:.3g}" for name, value in figures.items()))
    keep("metrics", {"microseconds_a_call": per_call, "ratio": ratio, "beside_calls": besides})


if __name__ == "__main__":
    main()
