"""Checkpoints of many sessions: one transaction of the store beside one file for each state.

    python -m benchmarks.session_store [--states N] [--nbytes N] [--sessions N] [--rounds N]

Both sides write the same states and have them on the disk when they return: the store in one
transaction of its database, the other side each in a file of its own, which is written, flushed
and renamed, and the folder flushed at the end. "flush" is one append and one flush of a file as
large as all states together: what the disk itself takes. The sides take turns in one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.common import keep
from foretoken.server.registry.files import Disk
from foretoken.server.sessions.state import Snapshot, to_bytes
from foretoken.server.sessions.store import Budgets, Saved, SessionStore

AIM = 10.0  # milliseconds beyond the flush, for 256 states of 4 KB
MANIFEST = "sha256:" + "0" * 64
NO_BOUND = Budgets(1 << 60, 0)


def states(session: int, nbytes: int, steps: Iterator[int]) -> Saved:
    """One session's state, of another step each time."""
    step = next(steps)
    array = np.full(nbytes // 4, step, np.float32)
    data = to_bytes(Snapshot("toy", 1, MANIFEST, 1, step, {}, {"a": array}))
    return Saved(f"{session:032x}", None, 0, "toy", 1, MANIFEST, step, data, "durable")


def ours(store: SessionStore, epochs: dict[str, int], given: list[Saved]) -> None:
    assert all(store.save([replace(each, epoch=epochs[each.session]) for each in given]))


def files(folder: Path, given: list[Saved]) -> None:
    disk = Disk()
    for each in given:
        partial = folder / f"{each.session}.partial"
        with disk.create(partial) as file:
            disk.write(file, each.data)
            disk.fsync(file)
        disk.rename(partial, folder / each.session)
    disk.fsync_folder(folder)


def flush(file: int, given: list[Saved]) -> None:
    os.write(file, b"".join(each.data for each in given))
    os.fsync(file)


def timed(side: Callable[[list[Saved]], None], given: list[Saved]) -> float:
    start = time.perf_counter()
    side(given)
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--states", type=int, default=256, help="in one checkpoint")
    parser.add_argument("--nbytes", type=int, default=4096, help="of one state")
    parser.add_argument("--sessions", type=int, default=1024, help="that there are")
    parser.add_argument("--rounds", type=int, default=48)
    given = parser.parse_args()
    rng, steps = np.random.default_rng(0), count()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "files").mkdir()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        store = SessionStore.open(folder / "sessions.db", lambda: bytes(32))
        first = [states(i, given.nbytes, steps) for i in range(given.sessions)]
        begun = store.begin_all(first, NO_BOUND)
        epochs = {
            each.session: epoch
            for each, epoch in zip(first, begun, strict=True)
            if isinstance(epoch, int)
        }
        sides: dict[str, Callable[[list[Saved]], None]] = {
            "store": lambda some: ours(store, epochs, some),
            "files": lambda some: files(folder / "files", some),
            "flush": lambda some: flush(log, some),
        }
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            chosen = rng.choice(given.sessions, given.states, replace=False)
            some = [states(int(i), given.nbytes, steps) for i in chosen]
            for name, side in sides.items():
                taken[name].append(timed(side, some))
        store.close()
        os.close(log)
    said = {
        name: {"median_ms": statistics.median(times), "max_ms": max(times)}
        for name, times in taken.items()
    }
    beyond = said["store"]["median_ms"] - said["flush"]["median_ms"]
    for name, figures in said.items():
        print(f"{name:6} {figures['median_ms']:8.2f} ms median {figures['max_ms']:8.2f} ms at most")
    print(f"store beyond the flush: {beyond:.2f} ms (aim: {AIM} ms for 256 states of 4 KB)")
    keep("session_store", {**vars(given), **said, "beyond_flush_ms": beyond, "aim_ms": AIM})


if __name__ == "__main__":
    main()
