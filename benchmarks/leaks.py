"""What many calls and many cancelled streams leave behind in memory, beside a plain server.

    python -m benchmarks.leaks [--calls N] [--streams N]

Both servers echo 64 bytes and live through the whole run; they are loaded in turn. What counts is
how much the resident set grows from after a tenth of the calls or streams to their end: what a
server fills once, such as pools of the allocator, is filled by then. grpc.aio itself keeps a little
of every cancelled stream.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import keep
from benchmarks.load.echo import artefacts
from benchmarks.load.generator import Job
from benchmarks.load.house import serving
from benchmarks.load.messages import INFER, echo
from benchmarks.load.processes import CLIENT, ROOT, Watched, free_port, generate, pinned, started

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
MIB = 1 << 20
SETTLE = 1.0  # seconds
PART = 2.0  # seconds of calls between two looks


@dataclass(frozen=True)
class Side:
    """A server under measurement, and how to call it."""

    watched: Watched
    job: Job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=10_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = {name: [path] for name, path in artefacts(Path(folder)).items()}
        port = free_port()
        plain = [sys.executable, "-m", "benchmarks.load.bare", str(port), "--uvloop"]
        with (
            started(plain, port) as watched,
            serving(Path(folder), models, plugins=True) as server,
        ):
            payload = echo()
            sides = {
                "plain": Side(watched, Job(f"127.0.0.1:{port}", INFER, (payload,))),
                "ours": Side(server.watched, server.job(payload)),
            }
            result = {name: grown(side, args.calls, args.streams) for name, side in sides.items()}
            live = {
                "streams": server.total("foretoken_streams_live"),
                "waiting": server.total("foretoken_calls_waiting"),
            }
    show(result, live)
    keep("leaks", {"sides": result, "live_afterwards": live})


def grown(side: Side, calls: int, streams: int) -> dict[str, Any]:
    """MiB of the resident set along the way, and bytes that one call or stream has added."""
    first, made = calling(side, calls // 10)
    last, more = calling(side, calls - made)
    begun = streaming(side, streams // 10)
    ended = streaming(side, streams - streams // 10)
    return {
        "calls": made + more,
        "streams": streams,
        "mib": {"calls": [first, last], "streams": [begun, ended]},
        "bytes_per_call": (last - first) * MIB / more,
        "bytes_per_stream": (ended - begun) * MIB / (streams - streams // 10),
    }


def calling(side: Side, count: int) -> tuple[float, int]:
    """Make at least ``count`` calls; MiB afterwards, and how many they were."""
    from dataclasses import replace  # noqa: PLC0415

    made = 0
    while made < count:
        result = generate(replace(side.job, seconds=PART))
        if result.failed:
            raise RuntimeError(f"{result.failed} calls failed: {result.details}")
        made += result.calls + result.uncounted
    return settled(side), made


def streaming(side: Side, count: int) -> float:
    """Begin and cancel ``count`` streams; MiB afterwards."""
    job = side.job
    command = [sys.executable, "-m", "benchmarks.load.streams", job.target, STREAM, str(count)]
    subprocess.run(
        pinned(command, [CLIENT]),
        cwd=ROOT,
        env={**os.environ, "METADATA": json.dumps(job.metadata)},
        input=job.payloads[0],
        check=True,
    )
    return settled(side)


def settled(side: Side) -> float:
    time.sleep(SETTLE)
    return side.watched.memory()


def show(result: dict[str, Any], live: dict[str, float]) -> None:
    print(f"{'':>8} {'after 1/10':>11} {'after all':>10} {'bytes each':>11}")
    for what in ("calls", "streams"):
        for name, side in result.items():
            first, last = side["mib"][what]
            each = side[f"bytes_per_{what[:-1]}"]
            print(f"{name:>8} {first:9.1f} M {last:8.1f} M {each:11.1f}  {side[what]} {what}")
    print(f"live afterwards: {live}")


if __name__ == "__main__":
    main()
