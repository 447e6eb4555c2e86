"""Unary calls of 64 bytes, beside a plain grpc.aio server and MLServer, on one core each.

    python -m benchmarks.rpc [--rounds N] [--seconds S]

Every side gets the same calls from the same generator: a tensor of sixteen float32, a bearer token,
a request id and a deadline. Ours runs as ``foretoken serve`` does, with tokens, metrics and the log
of every call; its model, ``echo``, goes through registry, plane and predictor, and ``echo-graph``
through batcher and ONNX Runtime as well. The plain server only echoes, on asyncio's own loop and on
uvloop. MLServer runs a custom runtime, with its parallel workers, metrics and access log switched
off. A round measures each side once, its server alive alone; medians are told. The server has a
core, the generator another: where the generator's share of its core nears one, it is the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common import keep
from benchmarks.load import peers
from benchmarks.load.echo import artefacts
from benchmarks.load.generator import Job
from benchmarks.load.house import prepared, serving
from benchmarks.load.messages import INFER, echo
from benchmarks.load.processes import CORES, Watched, free_port, generate, started

AIM = 0.9  # of the plain server's throughput
STEADY = 500.0  # calls per second of the open loop
CALLERS = (32, 1)
HERE = Path(__file__).parent
Serving = Callable[[], AbstractContextManager[tuple[Watched, Job]]]


@dataclass(frozen=True)
class Round:
    """One side in one round: calls per second, milliseconds, microseconds of processor a call."""

    rate: float
    cpu_us: float
    p50: float
    p99: float
    generator: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sides = all_sides(Path(scratch))
        rounds = measured(sides, args.rounds, args.seconds)
        workers = by_workers(Path(scratch), args.seconds)
    result = {"callers": list(CALLERS), "steady_rate": STEADY, "aim": AIM, "sides": rounds}
    show(result, workers)
    keep("rpc", {**result, "workers": workers, "load": os.getloadavg()})


def all_sides(scratch: Path) -> dict[str, Serving]:
    """How to start each, and the calls to make; MLServer only where it is installed."""
    folders = artefacts(scratch)
    house = scratch / "house"
    house.mkdir()
    models = {name: [folder] for name, folder in folders.items()}
    (house / "token").write_text(token := prepared(house / "data", models))
    metadata = (("authorization", f"Bearer {token}"), ("x-request-id", "benchmark-0001"))

    def job(port: int, model: str = "echo") -> Job:
        return Job(f"127.0.0.1:{port}", INFER, (echo(model),), metadata=metadata)

    @contextmanager
    def plain(*options: str) -> Iterator[tuple[Watched, Job]]:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.load.bare", str(port), *options]
        with started(command, port) as watched:
            yield watched, job(port)

    @contextmanager
    def ours(model: str) -> Iterator[tuple[Watched, Job]]:
        with serving(house, plugins=True) as server:
            yield server.watched, job(server.port, model)

    @contextmanager
    def mlserver() -> Iterator[tuple[Watched, Job]]:
        port, http = free_port(), free_port()
        env = {"MLSERVER_GRPC_PORT": str(port), "MLSERVER_HTTP_PORT": str(http)}
        command: list[str | Path] = [peers.MLSERVER, "start", "."]
        with started(command, port, env=env, cwd=HERE / "load" / "mlserver") as watched:
            yield watched, job(port)

    sides: dict[str, Serving] = {
        "plain": plain,
        "ours": lambda: ours("echo"),
        "plain, uvloop": lambda: plain("--uvloop"),
        "ours, with a graph": lambda: ours("echo-graph"),
    }
    if peers.MLSERVER.exists():
        sides["MLServer"] = mlserver
    else:
        print(peers.ABSENT)
    return sides


def measured(
    sides: Mapping[str, Serving], rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Medians over rounds, by side and kind of load."""
    taken: dict[str, dict[str, list[Round]]] = {name: {} for name in sides}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for name, side in sides.items():
            with side() as (watched, job):
                settled(job)
                for kind, each in kinds(job, seconds).items():
                    taken[name].setdefault(kind, []).append(one(watched, each))
    return {
        name: {kind: medians(found) for kind, found in loads.items()}
        for name, loads in taken.items()
    }


def kinds(job: Job, seconds: float) -> dict[str, Job]:
    """Closed loops by callers, and an open one at a moderate rate."""
    job = replace(job, seconds=seconds)
    loops = {f"{n} callers": replace(job, callers=n, channels=min(n, 4)) for n in CALLERS}
    return {**loops, "steady": replace(job, phases=((STEADY, seconds),))}


def settled(job: Job) -> None:
    """Wait until the model answers."""
    for _ in range(20):
        if generate(replace(job, seconds=0.2, callers=1, channels=1)).failed == 0:
            return
        time.sleep(0.5)
    raise RuntimeError(f"{job.target} does not answer")


def one(watched: Watched, job: Job) -> Round:
    """Measure a load; any failed call voids it."""
    before = watched.cpu()
    result = generate(job)
    cpu = (watched.cpu() - before) / (result.calls + result.uncounted)
    if result.failed:
        raise RuntimeError(f"{result.failed} calls failed: {result.details}")
    return Round(result.rate, 1e6 * cpu, result.p50, result.p99, result.cpu)


def medians(rounds: list[Round]) -> dict[str, float]:
    return {
        name: statistics.median(getattr(each, name) for each in rounds)
        for name in ("rate", "cpu_us", "p50", "p99", "generator")
    }


def by_workers(scratch: Path, seconds: float) -> dict[str, float]:
    """Microseconds of processor a call, with one worker and with two, each under the same load."""
    found = {}
    for workers in (1, 2):
        with serving(
            scratch / "house", cores=CORES[:2], plugins=True, workers=workers, threads=1
        ) as server:
            job = server.job(echo(), phases=((STEADY * workers, seconds),), channels=16)
            settled(replace(job, phases=()))
            found[str(workers)] = one(server.watched, job).cpu_us
    return found


def show(result: Mapping[str, Any], workers: Mapping[str, float]) -> None:
    base = result["sides"]["plain"]
    for kind in base:
        print(
            f"\n{kind:22} {'calls/s':>8} {'x plain':>8} {'cpu us':>7} {'x plain':>8} "
            f"{'p50 ms':>7} {'p99 ms':>7} {'generator':>9}"
        )
        for name, side in result["sides"].items():
            row = side[kind]
            print(
                f"{name:>22} {row['rate']:8.0f} {row['rate'] / base[kind]['rate']:8.2f} "
                f"{row['cpu_us']:7.0f} {base[kind]['cpu_us'] / row['cpu_us']:8.2f} "
                f"{row['p50']:7.2f} {row['p99']:7.2f} "
                f"{row['generator']:9.2f}"
            )
    one_worker, two = workers["1"], workers["2"]
    print(
        f"\nprocessor time a call, {STEADY:.0f}/s for each worker: one {one_worker:.0f} us, "
        f"two {two:.0f} us, ratio {two / one_worker:.2f} (aim <= 1.1)"
    )


if __name__ == "__main__":
    main()
