"""Four times more calls than the server can answer: what it still answers, and what it says else.

    python -m benchmarks.overload [--seconds S]

Calls arrive by a Poisson process whatever became of the earlier ones: a while at half of the
server's peak, then four times the peak, then half of it again. The peak is that of a closed loop,
measured first. A call asks for eight curves ("eight"), or for one ("one"), with a deadline of a
second; answers after it count for nothing. The server has one core: refusing costs it a part of the
same core, and the less work a call is, the larger that part.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load.generator import BUCKET, Result
from benchmarks.load.house import Server, serving
from benchmarks.load.messages import infer
from benchmarks.load.processes import generate

TIMES, CALM = 4.0, 0.5  # of the peak
AIM = 0.9  # of the peak, answered in time
DEADLINE = 1.0
LEAD, TAIL = 2.0, 4.0  # seconds of calm before and after
CALLERS = 32
CURVES = {"eight": 8, "one": 1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="of overload")
    args = parser.parse_args()
    result: dict[str, Any] = {"times": TIMES, "deadline_s": DEADLINE, "aim": AIM}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), threads=1) as server:
        for name, curves in CURVES.items():
            result[name] = overloaded(server, request(curves), args.seconds)
            show(name, result[name])
    keep("overload", {**result, "load": os.getloadavg()})


def request(curves: int) -> bytes:
    """So many curves, 50 points seen and 50 steps asked for, in one call."""
    values = np.sort(np.random.default_rng(0).random((curves, 50)), axis=1)
    steps, at = np.arange(1.0, 51), np.arange(51.0, 101)
    return infer("lcpfn", values=values, steps=steps, at=at).SerializeToString()


def overloaded(server: Server, payload: bytes, seconds: float) -> dict[str, Any]:
    """Measure the peak, then overload."""
    calm = generate(server.job(payload, callers=CALLERS, seconds=3.0, timeout=None))
    peak, before = calm.rate, server.watched.memory()
    phases = ((CALM * peak, LEAD), (TIMES * peak, seconds), (CALM * peak, TAIL))
    with highest(server) as memory:
        load = generate(server.job(payload, phases=phases, timeout=DEADLINE, channels=8))
    codes = load.between(LEAD, LEAD + seconds)
    answered = codes.pop("OK", 0)
    return {
        "peak_per_s": peak,
        "offered_per_s": (answered + sum(codes.values())) / seconds,
        "goodput": answered / seconds / peak,
        "not_answered": codes,
        "with_retry_after": load.pushback / max(1, load.codes.get("RESOURCE_EXHAUSTED", 0)),
        "refused_ms": {"p50": load.refused[0], "p99": load.refused[1]},
        "answered_ms": {"p50": load.p50, "p99": load.p99},
        "recovery_s": recovery(load, LEAD + seconds),
        "rss_mib": {"before": before, "highest": memory[0]},
        "generator": load.cpu,
        "generator_late_ms": load.late,
    }


def recovery(load: Result, end: float) -> float:
    """Seconds after ``end`` from which on every call was answered."""
    last = end
    for i, bucket in enumerate(load.trace):
        if set(bucket) - {"OK"} and i * BUCKET >= end:
            last = (i + 1) * BUCKET
    return last - end


@contextmanager
def highest(server: Server, every: float = 0.2) -> Iterator[list[float]]:
    """The most memory that the server has while the block runs, in a list of one."""
    most, done = [0.0], threading.Event()

    def look() -> None:
        while not done.wait(every):
            most[0] = max(most[0], server.watched.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def show(name: str, row: dict[str, Any]) -> None:
    refused, answered, rss = row["refused_ms"], row["answered_ms"], row["rss_mib"]
    print(
        f"\n{name}: peak {row['peak_per_s']:.0f} calls/s, offered {row['offered_per_s']:.0f}\n"
        f"  answered in time   {row['goodput']:.2f} of the peak (aim {AIM})\n"
        f"  not answered       {row['not_answered']}, of the refused "
        f"{100 * row['with_retry_after']:.0f} % say when to come back\n"
        f"  refused after      p50 {refused['p50']:.1f} ms, p99 {refused['p99']:.1f} ms\n"
        f"  answered after     p50 {answered['p50']:.1f} ms, p99 {answered['p99']:.1f} ms\n"
        f"  recovered after    {row['recovery_s']:.1f} s\n"
        f"  memory             {rss['before']:.0f} MiB before, {rss['highest']:.0f} at most\n"
        f"  generator          {100 * row['generator']:.0f} % of its core, "
        f"late by {row['generator_late_ms']:.1f} ms (p99)"
    )


if __name__ == "__main__":
    main()
