"""A minute of moving aliases under load, and a worker killed under load: which calls fail.

    python -m benchmarks.reload [--seconds S] [--kills N]

Two workers serve lcpfn while the champion moves every second between the bundled model and its
int8 child: no call may fail. Then workers are killed with SIGKILL, one at a time, under the load of
a client that never tries again, whose failures are counted, and of our client, which does.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load.house import Server, serving
from benchmarks.load.messages import curve
from benchmarks.load.processes import CORES, Watched, generating
from foretoken.client import Client
from foretoken.errors import ForetokenError
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.server.publish import quantised
from foretoken.server.registry.registry import Registry

EVERY = 1.0  # seconds between two moves of the alias
CALLERS = 8
CLIENTS = 4  # of ours, in threads
WARM, PAUSE = 1.0, 2.5  # seconds before a kill, and at least between two
AIM = 3.0  # seconds until the dead worker has a successor
MANY = 3600.0
PAYLOAD = curve(np.sort(np.random.default_rng(0).random(20)), np.arange(21.0, 41))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0, help="of moving aliases")
    parser.add_argument("--kills", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        child = Path(folder) / "int8"
        quantised(Artefact.read(bundled()["lcpfn"]), child)
        models = {"lcpfn": [child]}
        with serving(Path(folder), models, CORES, workers=2, threads=1) as server:
            result = {
                "flips": flipped(server, args.seconds),
                "kills": killed(server, args.kills),
            }
    show(result)
    keep("reload", {**result, "load": os.getloadavg()})


def flipped(server: Server, seconds: float) -> dict[str, Any]:
    """Move the champion to and fro; calls by status, and how many each version answered."""
    moves = 0
    with (
        Registry.open(server.data_dir) as registry,
        generating(server.job(PAYLOAD, callers=CALLERS, seconds=seconds)) as load,
    ):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            registry.set_alias("lcpfn", "champion", 1 + moves % 2)
            moves += 1
            time.sleep(EVERY)
        result = load.result()
    return {
        "moves": moves,
        "codes": result.codes,
        "failed": result.failed,
        "details": result.details,
        "p50_ms": result.p50,
        "p99_ms": result.p99,
        "answered_by": by_version(server),
    }


def by_version(server: Server) -> dict[str, int]:
    """Calls that each version of lcpfn has answered, over all workers."""
    import grpc  # noqa: PLC0415

    from foretoken.proto.grpc_service import (  # noqa: PLC0415
        ModelStatisticsRequest,
        ModelStatisticsResponse,
    )

    time.sleep(1.0)  # workers share their counts every half second
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            ModelStatisticsRequest.SerializeToString,
            ModelStatisticsResponse.FromString,
        )
        found = call(ModelStatisticsRequest(name="lcpfn"), metadata=server.metadata)
    return {each.version: each.inference_stats.success.count for each in found.model_stats}


def killed(server: Server, kills: int) -> dict[str, Any]:
    """Kill a worker at a time; failures by status, and seconds until there are two again."""
    seconds = WARM + kills * (PAUSE + AIM)
    taken = []
    with (
        ours(server) as outcomes,
        generating(server.job(PAYLOAD, callers=CALLERS, seconds=seconds)) as load,
    ):
        time.sleep(WARM)
        for _ in range(kills):
            taken.append(kill(server))
            time.sleep(PAUSE)
        result = load.result()
    codes = {code: count for code, count in result.codes.items() if code != "OK"}
    return {
        "kills": kills,
        "codes": result.codes,
        "in_flight_at_most": kills * CALLERS,
        "failed": codes,
        "details": result.details,
        "restart_s": {"median": statistics.median(taken), "worst": max(taken)},
        "ours": dict(outcomes),
    }


def kill(server: Server) -> float:
    """Kill the oldest worker; seconds until another serves in its place."""
    restarts = server.total("foretoken_worker_restarts_total")
    before = children(server.watched)
    began = time.monotonic()
    os.kill(before[0], signal.SIGKILL)
    while time.monotonic() - began < MANY:
        if set(children(server.watched)) - set(before) and ready(server, restarts):
            return time.monotonic() - began
        time.sleep(0.02)
    raise RuntimeError("no new worker")


def ready(server: Server, restarts: float) -> bool:
    """Whether there are two workers again, all loaded."""
    try:
        metrics = server.metrics()
    except OSError:
        return False
    more = sum(metrics["foretoken_worker_restarts_total"].values()) > restarts
    return more and sum(metrics["foretoken_workers"].values()) == 2


def children(watched: Watched) -> list[int]:
    """The workers, oldest first."""
    text = Path(f"/proc/{watched.pid}/task/{watched.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


@contextmanager
def ours(server: Server) -> Iterator[Counter[str]]:
    """Calls of our client beside what the block does; counts them by how they ended."""
    outcomes, done = Counter[str](), threading.Event()
    values = np.sort(np.random.default_rng(0).random(20))

    def work() -> None:
        with Client(server.target, token=server.token) as client:
            while not done.is_set():
                try:
                    client.extrapolate("lcpfn", values, at=np.arange(21.0, 41))
                except ForetokenError as e:
                    outcomes[f"{type(e).__name__}: {e}"] += 1
                else:
                    outcomes["answered"] += 1

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        done.set()
        for thread in threads:
            thread.join()


def show(result: dict[str, Any]) -> None:
    flips, kills = result["flips"], result["kills"]
    print(
        f"\n{flips['moves']} moves of the champion under {CALLERS} callers: {flips['codes']}, "
        f"failed {flips['failed']} (aim 0)\n"
        f"  p50 {flips['p50_ms']:.1f} ms, p99 {flips['p99_ms']:.1f} ms; "
        f"answered by version: {flips['answered_by']}\n"
        f"{kills['kills']} workers killed: {kills['codes']}; at most "
        f"{kills['in_flight_at_most']} were in flight\n"
        f"  a successor served after {kills['restart_s']['median']:.2f} s, at worst "
        f"{kills['restart_s']['worst']:.2f} s (aim {AIM:.0f})\n"
        f"  our client, which tries again: {kills['ours']}"
    )
    for part in (flips, kills):
        for code, text in part["details"].items():
            print(f"  {code}: {text}")


if __name__ == "__main__":
    main()
