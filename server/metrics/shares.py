"""The folder in which workers share their counts: a file each, and one for those that have died.

A worker rewrites its file now and then, and whoever shows metrics adds all files up. When a worker
dies, its lasting counts move into the file of the dead. Files are replaced whole, and a reader
takes the workers' files before that of the dead, which names whom it contains: so each worker is
counted once at any moment, without a lock.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

from foretoken.server.metrics.cells import Cells, Lines, decode, encode, joined, lasting, merge

__all__ = ["Share", "worker_died"]

DEAD = "dead"
SUFFIX = ".worker"
REMEMBERED = 1000  # of the dead, by name: more than die while one reader reads
RESTARTS = ("foretoken_worker_restarts_total",)


class Share:
    """One worker's place in the folder.

    Args:
        folder: exists; the same for all workers of a server, and empty when the server starts.
        pid: of the worker; the file's name adds the time, for pids come again.
    """

    def __init__(self, folder: Path, pid: int) -> None:
        self._folder = folder
        self._name = f"{pid}-{time.time_ns()}{SUFFIX}"
        self._lines: Lines | None = None

    def write(self, cells: Cells) -> None:
        """Put the worker's counts in the place of those written before; OSError if it cannot.

        Args:
            cells: all of them; the lists must not change afterwards.
        """
        self._lines = encode(cells, self._lines)
        _replace(self._folder / self._name, joined(self._lines))

    def others(self) -> list[Cells]:
        """The counts of all other workers, living and dead; may block."""
        living = {}
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if path.name != self._name:
                try:
                    living[path.name] = decode(path.read_bytes())
                except FileNotFoundError:
                    continue  # it died after it was listed; the file of the dead has its counts
        names, dead = _dead(self._folder)
        return [dead, *(cells for name, cells in living.items() if name not in names)]


def worker_died(folder: Path, pid: int, *, restarted: bool = True) -> None:
    """Keep what a worker that is no more has counted, and forget its gauges.

    Only the supervisor calls it, for one worker at a time. Where the disk is full the worker's file
    stays as it is, gauges and all: a supervisor has more to do than to count.

    Args:
        folder: where workers share.
        pid: of the worker; it may have shared nothing.
        restarted: another takes its place; False when the worker was asked to stop.
    """
    with contextlib.suppress(OSError):
        names, dead = _dead(folder)
        paths = list(folder.glob(f"{pid}-*{SUFFIX}"))
        counts = [lasting(decode(path.read_bytes())) for path in paths]
        cells = merge([dead, *counts, {RESTARTS: [1]} if restarted else {}])
        names = [*names, *(path.name for path in paths)][-REMEMBERED:]
        _replace(folder / DEAD, json.dumps(names).encode() + b"\n" + joined(encode(cells)))
        for left in folder.glob(f"{pid}-*"):
            left.unlink(missing_ok=True)


def _dead(folder: Path) -> tuple[list[str], Cells]:
    try:
        names, _, cells = (folder / DEAD).read_bytes().partition(b"\n")
    except FileNotFoundError:
        return [], {}
    return json.loads(names), decode(cells)


def _replace(path: Path, data: bytes) -> None:
    half = path.with_name(path.name + ".half")
    half.write_bytes(data)
    os.replace(half, path)
