"""Statistics of versions, as the Open Inference Protocol has them, over all workers."""

from __future__ import annotations

import asyncio
import time

import pytest

from foretoken.server.engine.observer import Batch, Served
from foretoken.server.metrics import Metrics, worker_died
from foretoken.server.metrics.shares import Share
from foretoken.server.statistics import BatchStatistics, Duration, ModelStatistics, Statistics

MS = 1_000_000


def work(counted: Metrics, model: str = "lcpfn", version: int = 1, rows: int = 4) -> None:
    """A batch of ``rows`` requests, and each of them answered."""
    counted.batch(Batch(model, version, "forward", rows, 40, 44, (0.001,) * rows, 0.004))
    for _ in range(rows):
        counted.served(Served(model, version, 0.001, 0.004, 0.0055, ""))


def of(counted: Metrics, *what) -> list[ModelStatistics]:
    return asyncio.run(Statistics(counted).of(*what))


def test_a_version_tells_what_it_has_done():
    counted, began = Metrics(), time.time()
    work(counted)
    counted.batch(Batch("lcpfn", 1, "forward", 1, 10, 10, (0.0,), 0.002))
    counted.served(Served("lcpfn", 1, 0.5, 0.25, 1.0, "DeadlineExceeded"))
    (found,) = of(counted)
    assert began * 1000 - 1 <= found.last_inference <= time.time() * 1000
    assert found == ModelStatistics(
        name="lcpfn",
        version=1,
        last_inference=found.last_inference,
        inferences=5,
        executions=2,
        success=Duration(4, 22 * MS),
        fail=Duration(1, 1000 * MS),
        queue=Duration(4, 4 * MS),
        compute_input=Duration(4, 2 * MS),
        compute_infer=Duration(4, 16 * MS),
        batches=(
            BatchStatistics(1, Duration(1, 2 * MS)),
            BatchStatistics(4, Duration(1, 4 * MS)),
        ),
    )


def test_parts_add_up_to_the_whole():
    counted = Metrics()
    for queue, compute in ((0.1, 0.2), (0.0, 0.3), (0.01, 0.0)):
        counted.served(Served("lcpfn", 1, queue, compute, queue + compute + 0.05, ""))
    (found,) = of(counted)
    parts = (found.queue, found.compute_input, found.compute_infer, found.compute_output)
    assert sum(part.ns for part in parts) == pytest.approx(found.success.ns, abs=2)


def test_models_and_versions_are_told_apart_and_chosen():
    counted = Metrics()
    for model, version in (("b", 10), ("b", 9), ("a", 1)):
        work(counted, model, version)
    assert [(s.name, s.version) for s in of(counted)] == [("a", 1), ("b", 9), ("b", 10)]
    assert [(s.name, s.version) for s in of(counted, "b")] == [("b", 9), ("b", 10)]
    assert [(s.name, s.version) for s in of(counted, "b", 10)] == [("b", 10)]
    assert of(counted, "c") == []
    assert of(counted, "b", 1) == []


def test_a_version_that_is_loaded_and_idle_is_there_with_zeros():
    counted = Metrics()
    counted.loaded("lcpfn", 3, 0.1, 100)
    assert of(counted) == [
        ModelStatistics("lcpfn", 3, last_inference=0, executions=0, success=Duration())
    ]


def test_all_workers_count_living_and_dead(tmp_path):
    counted = Metrics(tmp_path)
    work(counted, version=2)
    for pid, version in ((1001, 1), (1002, 2)):
        other = Metrics()
        work(other, version=version, rows=10)
        Share(tmp_path, pid).write(asyncio.run(other.cells()))
    worker_died(tmp_path, 1002)
    one, two = of(counted, "lcpfn")
    assert (one.inferences, one.executions, one.success.count) == (10, 1, 10)
    assert (two.inferences, two.executions, two.success.count) == (14, 2, 14)
    assert [batch.size for batch in two.batches] == [4, 10]
    assert two.last_inference >= one.last_inference - 1000  # the latest of both workers


def test_sizes_of_large_batches_are_bounded():
    counted = Metrics()
    for rows in range(1, 1000):
        counted.batch(Batch("lcpfn", 1, "forward", rows, 1, 1, (), 0.001))
    (found,) = of(counted)
    sizes = {batch.size: batch.compute.count for batch in found.batches}
    assert list(sizes) == [*range(1, 65), 128, 256, 512, 1024]
    assert (sizes[128], sizes[256], sizes[1024]) == (64, 128, 487)
    assert sum(sizes.values()) == found.executions == 999
