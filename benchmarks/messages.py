"""Messages of sequences, beside a plain grpc.aio stream of the same sizes, on one core each.

    python -m benchmarks.messages [--model NAME] [--rounds N] [--seconds S]

Every side gets the same load from the same generator: streams with a session each, every one of
which sends its next message when the last is answered, with a token and a request id. The plain
server parses each message and makes a reply as large as ours, on asyncio's own loop and on uvloop,
and does nothing else. Ours runs as ``foretoken serve`` does, and every message steps the model:
once, or 32 times where the message has 32 observations. Then one stream has 256 sessions. Where
perf_analyzer is installed, it streams sequences through the Open Inference Protocol; its replies
are the model's whole forecasts, which are larger. A round measures each side once, its server alive
alone; medians are told. The server has a core, the generator another: where the generator's share
of its core nears one, it is the limit, and the processor time of a message says more than their
rate.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load import peers
from benchmarks.load.house import serving
from benchmarks.load.processes import CLIENT, ROOT, Watched, free_port, pinned, started
from benchmarks.load.talking import Heard, Talk, opened
from foretoken.proto import sequences as wire
from foretoken.proto import tabular

AIMS = {"messages": 0.7, "steps": 10.0}
METHOD = "/foretoken.v1.Sequences/Stream"
STREAMS, STEPS, SESSIONS = 32, 32, 256
LEVELS = "0.1,0.5,0.9"


@dataclass(frozen=True)
class Round:
    """One side in one round: messages and steps per second, microseconds of processor a message."""

    rate: float
    steps: float
    cpu_us: float
    p50: float
    p99: float
    generator: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="aaren-forecast")
    parser.add_argument("--artefact", type=Path, help="to register as MODEL first")
    parser.add_argument("--horizon", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), args.model, args.artefact, args.horizon, args.seconds)
        found = bench.measured(args.rounds)
    result = {
        "model": args.model,
        "horizon": args.horizon,
        "levels": LEVELS,
        "streams": STREAMS,
        "aims": AIMS,
        "sides": found,
        "load": os.getloadavg(),
    }
    show(result)
    keep("messages", result)


class Bench:
    """The sides, and how each is started and talked to."""

    def __init__(
        self, scratch: Path, model: str, artefact: Path | None, horizon: int, seconds: float
    ) -> None:
        self._scratch = scratch
        self._models = {} if artefact is None else {model: [artefact]}
        options = {
            "horizon": tabular.Option(number=horizon),
            "quantiles": tabular.Option(text=LEVELS),
        }
        self._opening = wire.SequenceOpen(model=model, options=options)
        self._seconds = seconds
        self._sizes = {steps: 8 * steps * horizon * len(LEVELS.split(",")) for steps in (1, STEPS)}

    def measured(self, rounds: int) -> dict[str, dict[str, float]]:
        """Medians over rounds, by side."""
        taken: dict[str, list[Round]] = {}
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for name, options in (("plain", ()), ("plain, uvloop", ("--uvloop",))):
                with self._plain(*options) as (watched, talk):
                    taken.setdefault(name, []).append(one(watched, talk, 1))
            with self._ours() as (watched, talk):
                for name, each, steps in self._talks(talk):
                    taken.setdefault(name, []).append(one(watched, each, steps))
                if peers.PERF_ANALYZER.exists():
                    found = self._analysed(watched, talk)
                    taken.setdefault("ours, perf_analyzer", []).append(found)
        return {name: medians(each) for name, each in taken.items()}

    def _talks(self, talk: Talk) -> Iterator[tuple[str, Talk, int]]:
        yield "ours", talk, 1
        yield "ours, 32 steps", replace(talk, messages=self._observed(STEPS)), STEPS
        numbers = range(1, SESSIONS + 1)
        several = replace(
            talk,
            openings=opened(numbers, wire.SequenceRequest(open=self._opening)),
            messages=self._observed(1, SESSIONS),
            streams=1,
            channels=1,
        )
        yield f"ours, {SESSIONS} sessions", several, 1

    def _analysed(self, watched: Watched, talk: Talk) -> Round:
        """As perf_analyzer says, in windows of half a second until three agree."""
        report = self._scratch / "report.csv"
        command = [
            *(peers.PERF_ANALYZER, "-m", self._opening.model, "-i", "grpc", "-u", talk.target),
            *("--streaming", "--shape", "values:1,1", "--input-data", "zero", "-f", report),
            *("--concurrency-range", STREAMS, "--sequence-length", 1000, "-p", 500, "-s", 999),
            *(part for key, value in talk.metadata for part in ("-H", f"{key}:{value}")),
        ]
        before, began = watched.cpu(), time.monotonic()
        subprocess.run(
            pinned([str(each) for each in command], [CLIENT]),
            env=peers.environment(),
            check=True,
            capture_output=True,
        )
        used, seconds = watched.cpu() - before, time.monotonic() - began
        with report.open(newline="") as f:
            (row,) = csv.DictReader(f)
        rate = float(row["Inferences/Second"])
        p50, p99 = (float(row[f"p{level} latency"]) / 1000 for level in (50, 99))
        return Round(rate, rate, 1e6 * used / (rate * seconds), p50, p99, float("nan"))

    @contextmanager
    def _plain(self, *options: str) -> Iterator[tuple[Watched, Talk]]:
        port = free_port()
        size = str(self._sizes[1])
        command = [sys.executable, "-m", "benchmarks.load.bare_sequences", str(port), size]
        with started([*command, *options], port) as watched:
            yield watched, replace(self._talk(port), openings=self._observed(1))

    @contextmanager
    def _ours(self) -> Iterator[tuple[Watched, Talk]]:
        house = self._scratch / "house"
        house.mkdir(exist_ok=True)
        with serving(house, self._models) as server:
            yield server.watched, replace(self._talk(server.port), metadata=server.metadata)

    def _talk(self, port: int) -> Talk:
        openings = opened([1], wire.SequenceRequest(open=self._opening))
        messages = self._observed(1)
        return Talk(f"127.0.0.1:{port}", METHOD, openings, messages, STREAMS, seconds=self._seconds)

    def _observed(self, steps: int, sessions: int = 1) -> tuple[bytes, ...]:
        values = np.sin(np.arange(float(steps))).tobytes()
        said = wire.SequenceRequest(observe=wire.Observe(values=values, steps=steps))
        return opened(range(1, sessions + 1), said)


def one(watched: Watched, talk: Talk, steps: int) -> Round:
    """Measure a load."""
    command = pinned([sys.executable, "-m", "benchmarks.load.talking"], [CLIENT])
    before = watched.cpu()
    done = subprocess.run(
        command, input=talk.dumped(), capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode:
        raise RuntimeError(f"the generator ended with {done.returncode}: {done.stderr[-2000:]}")
    heard = Heard(**json.loads(done.stdout))
    count = heard.rate * talk.seconds + heard.uncounted
    cpu = 1e6 * (watched.cpu() - before) / count
    return Round(heard.rate, steps * heard.rate, cpu, heard.p50, heard.p99, heard.cpu)


def medians(rounds: list[Round]) -> dict[str, float]:
    return {
        name: statistics.median(getattr(each, name) for each in rounds)
        for name in ("rate", "steps", "cpu_us", "p50", "p99", "generator")
    }


def show(result: Mapping[str, Any]) -> None:
    sides = result["sides"]
    base, alone = sides["plain"], sides["ours"]
    print(
        f"\n{'':22} {'msg/s':>8} {'x plain':>8} {'steps/s':>9} {'x ours':>7} {'cpu us':>7} "
        f"{'x plain':>8} {'p50 ms':>7} {'p99 ms':>7} {'generator':>9}"
    )
    for name, row in sides.items():
        print(
            f"{name:>22} {row['rate']:8.0f} {row['rate'] / base['rate']:8.2f} "
            f"{row['steps']:9.0f} {row['steps'] / alone['steps']:7.1f} {row['cpu_us']:7.0f} "
            f"{base['cpu_us'] / row['cpu_us']:8.2f} {row['p50']:7.2f} {row['p99']:7.2f} "
            f"{row['generator']:9.2f}"
        )
    if "ours, perf_analyzer" not in sides:
        print(peers.ABSENT)
    many = sides["ours, 32 steps"]
    print(
        f"\nmessages a second: {alone['rate'] / base['rate']:.2f} of the plain stream's "
        f"(aim >= {AIMS['messages']}); 32 steps a message: {many['steps'] / alone['steps']:.1f} "
        f"times the steps (aim >= {AIMS['steps']:g})"
    )


if __name__ == "__main__":
    main()
