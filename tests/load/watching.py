"""A server looked at from outside: memory, and the gauges of what lives in it."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

SHARED = 0.6  # seconds after which all workers have told their counts
LIVE = ("foretoken_streams_live", "foretoken_calls_waiting")


def memory(pid: int, line: str = "VmRSS") -> int:
    """Bytes of a process's resident set; with "VmHWM", of the largest that it has ever been."""
    found = re.search(rf"^{line}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
    if found is None:
        raise LookupError(pid)
    return int(found[1]) * 1024


def total(server, metric: str, *labels: str) -> float:
    """Sum of the metric's samples that have these labels, written as in the text format."""
    with urllib.request.urlopen(f"{server.http}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = 0.0
    for line in text.splitlines():
        match = re.match(rf"{metric}(?:\{{(.*)\}})? (\S+)$", line)
        if match and all(label in (match[1] or "") for label in labels):
            found += float(match[2])
    return found


def live(server) -> float:
    """Streams that are open and calls that wait, over all workers."""
    return sum(total(server, metric) for metric in LIVE)


def until(true: Callable[[], object], patience: float = 10.0) -> bool:
    """Whether it comes true in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.05)
    return bool(true())


def killed(server) -> None:
    """SIGKILL to each worker there is now, in turn, when another one serves in its place."""
    from benchmarks.load.enduring import listening

    port, before = int(server.address.rpartition(":")[2]), server.workers
    for pid in before:
        os.kill(pid, signal.SIGKILL)
        assert until(
            lambda gone=pid: len({*listening(server.workers, port)} - {gone}) == len(before),
            patience=120,
        )
