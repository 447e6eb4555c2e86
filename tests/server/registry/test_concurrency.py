"""Several processes over one data dir."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable

from foretoken.errors import StaleGeneration
from foretoken.server.registry.registry import Registry
from tests.server.registry.conftest import toy_signature, write_artefact

PROCESSES, EACH = 8, 3
HOUR = 3600.0


def together(work: Callable, *args: object) -> list:
    """Run ``work(n, barrier, queue, *args)`` in all processes at once; what they put."""
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(PROCESSES), context.Queue()
    children = [
        context.Process(target=work, args=(n, barrier, queue, *args)) for n in range(PROCESSES)
    ]
    for child in children:
        child.start()
    found = [queue.get(timeout=120) for _ in range(PROCESSES)]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * PROCESSES
    return found


def _register(n, barrier, queue, data_dir, folder):
    artefacts = [write_artefact(folder / f"{n}-{i}", n + i / EACH) for i in range(EACH)]
    with Registry.open(data_dir, signature=toy_signature) as registry:
        barrier.wait()
        queue.put([registry.register("m", artefact).number for artefact in artefacts])


def test_eight_processes_register_one_name_at_once(data_dir, tmp_path):
    """The data dir itself is new, so that they also race to make it."""
    numbers = together(_register, data_dir, tmp_path / "artefacts")
    assert sorted(n for mine in numbers for n in mine) == list(range(1, PROCESSES * EACH + 1))
    assert all(mine == sorted(mine) for mine in numbers)
    with Registry.open(data_dir, signature=toy_signature) as registry:
        there = [version.number for version in registry.versions("m", unready=True)]
        assert there == list(range(PROCESSES * EACH, 0, -1))
        assert all(report.ok for report in registry.verify())
        assert registry.resolve("m").number == 1
        assert len(registry.history("m")) == 1


def _count(n, barrier, queue, data_dir):
    """Move the alias once for each success, re-reading after each loss, as compare-and-set asks."""
    with Registry.open(data_dir, signature=toy_signature) as registry:
        barrier.wait()
        lost = done = 0
        while done < EACH:
            (alias,) = registry.aliases("m")
            other = 3 - alias.target.version
            try:
                registry.set_alias("m", "champion", other, expect_generation=alias.generation)
                done += 1
            except StaleGeneration:
                lost += 1
        queue.put(lost)


def test_compare_and_set_loses_no_move(registry, make_artefact, data_dir):
    for _ in range(2):
        registry.register("m", make_artefact())
    together(_count, data_dir)
    (alias,) = registry.aliases("m")
    assert alias.generation == 1 + PROCESSES * EACH
    turns = [event.after.version for event in registry.history("m")]
    assert turns == [1 + n % 2 for n in range(1 + PROCESSES * EACH)]


def _collect(n, barrier, queue, data_dir, artefacts):
    with Registry.open(data_dir, signature=toy_signature) as registry:
        barrier.wait()
        if n == 0:
            queue.put(sum(registry.gc(HOUR).blobs for _ in range(20)))
        else:
            mine = artefacts[n - 1 :: PROCESSES - 1]
            queue.put([registry.register("m", artefact).number for artefact in mine])


def test_a_collection_beside_registrations_harms_none(registry, data_dir, tmp_path):
    """All bytes lie there already as old orphans, so that both want them at the same time."""
    artefacts = [write_artefact(tmp_path / str(n), float(n)) for n in range(EACH * (PROCESSES - 1))]
    for artefact in artefacts:
        for path in artefact.files.values():
            blob = registry._blobs.path(registry._blobs.put(path).digest)
            os.utime(blob, (time.time() - 2 * HOUR,) * 2)
    together(_collect, data_dir, artefacts)
    assert len(registry.versions("m")) == len(artefacts)
    assert all(report.ok for report in registry.verify())
