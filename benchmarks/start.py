"""From the command to ready, and the memory of each worker.

    python -m benchmarks.start [--rounds N]

Time runs from the start of ``foretoken serve`` until a curve is answered over gRPC, by one worker
and by two: on a data dir that does not exist yet ("first"), and on the same one again ("again").
Memory is the proportional set size (PSS), in which pages that processes share are split between
them, after a hundred answers. Which libraries a worker has mapped tells whether torch was imported.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load.house import Server, serving
from benchmarks.load.messages import curve
from benchmarks.load.processes import CORES, generate, memory

AIM_S, LIMIT_S, LIMIT_MIB = 2.0, 3.0, 300.0
HEAVY = ("torch", "pandas", "scipy", "matplotlib", "onnxscript", "triton")
PAYLOAD = curve(np.sort(np.random.default_rng(0).random(50)), np.arange(51.0, 101))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows: dict[str, Any] = {}
    for workers in (1, 2):
        found: list[dict[str, Any]] = []
        for _ in range(args.rounds):
            with tempfile.TemporaryDirectory() as folder:
                found.append({"first": once(Path(folder), workers)})
                found[-1]["again"] = once(Path(folder), workers)
        rows[f"{workers}"] = {
            when: summary([each[when] for each in found]) for when in ("first", "again")
        }
    show(rows)
    keep("start", {"workers": rows, "aim_s": AIM_S, "load": os.getloadavg()})


def once(folder: Path, workers: int) -> dict[str, Any]:
    """Start, answer, look, stop."""
    began = time.monotonic()
    with serving(folder, cores=CORES, tokens=False, workers=workers) as server:
        answered = ready(server, began)
        generate(server.job(PAYLOAD, seconds=0.5, callers=8, channels=8))
        pids = [pid for pid in server.watched.pids() if pid != server.watched.pid]
        return {
            "ready_s": answered,
            "worker_mib": max(memory(pid, "Pss") for pid in pids),
            "supervisor_mib": memory(server.watched.pid, "Pss"),
            "heavy": sorted({name for pid in pids for name in mapped(pid)}),
        }


def ready(server: Server, began: float) -> float:
    """Seconds from ``began`` to the first answer."""
    import grpc  # noqa: PLC0415

    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        call(PAYLOAD, wait_for_ready=True, timeout=60)
    return time.monotonic() - began


def mapped(pid: int) -> set[str]:
    """Which of the heavy packages' libraries a process has in its address space."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return {name for name in HEAVY if f"/site-packages/{name}/" in maps}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians, the slowest start, and all heavy packages seen."""
    seconds = [each["ready_s"] for each in found]
    return {
        "ready_s": statistics.median(seconds),
        "slowest_s": max(seconds),
        "worker_mib": statistics.median(each["worker_mib"] for each in found),
        "supervisor_mib": statistics.median(each["supervisor_mib"] for each in found),
        "heavy": sorted({name for each in found for name in each["heavy"]}),
    }


def show(rows: dict[str, Any]) -> None:
    print(f"{'':>16} {'ready s':>8} {'slowest':>8} {'worker MiB':>11} {'supervisor':>11}  heavy")
    for workers, row in rows.items():
        for when, each in row.items():
            print(
                f"{workers + ' worker, ' + when:>16} {each['ready_s']:8.2f} "
                f"{each['slowest_s']:8.2f} {each['worker_mib']:11.0f} "
                f"{each['supervisor_mib']:11.0f}  {', '.join(each['heavy']) or 'none'}"
            )
    print(f"aims: {AIM_S:.0f} s ({LIMIT_S:.0f} at most), {LIMIT_MIB:.0f} MiB, none")


if __name__ == "__main__":
    main()
