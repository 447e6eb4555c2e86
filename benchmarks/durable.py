"""Durable streams while workers are killed: what every client got, beside an undisturbed run.

    python -m benchmarks.durable [--seconds N] [--streams N] [--every N] [--workers N]
                                 [--messages N] [--model NAME]

Each stream has a connection of its own and tells its values at a pace; meanwhile the worker that
serves for longest is killed with SIGKILL every few seconds, and the supervisor starts another; a
kill is put off while no other serves. The same values are told before, with no worker killed. Arms:
deterministic sessions, which must answer the same bits, and ordinary ones, which must answer the
same to 1e-5 of the outputs' scale. "toy" is a small recurrent model with random weights; other
names are of bundled ones.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.common import keep
from benchmarks.load.enduring import Plan, compared, killing, listening, told
from benchmarks.load.recurrent import registered
from tests.serving import Server, serving
from tests.toy_families import toy_families

AIM = 1e-5  # of the outputs' scale, of sessions that are not deterministic


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120.0, help="of each arm")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--messages", type=int, default=240, help="of each stream")
    parser.add_argument("--model", default="toy")
    args = parser.parse_args()
    arms = {}
    for name in ("deterministic", "ordinary"):
        with served(args.model, args.workers) as server:
            plan = Plan(
                server.address, args.model, args.streams, args.messages, name == "deterministic"
            )
            arms[name] = asyncio.run(trial(plan, server, args.seconds, args.every))
        print(f"{name}: " + ", ".join(f"{k} {v:g}" for k, v in arms[name].items()))
    keep("durable_kill", {**vars(args), "aim": AIM, **arms, "load": os.getloadavg()})
    if not all(held(arm, args.streams) for arm in arms.values()):
        raise SystemExit("not every stream has what an undisturbed one has")


def held(arm: dict[str, Any], streams: int) -> bool:
    """Whether every client has what it would have had if nothing had been killed."""
    close = (
        arm["bit_equal"] == streams if arm["deterministic"] else arm["largest_difference"] <= AIM
    )
    return bool(
        close and arm["finished"] == streams and not arm["with_lost"] and not arm["with_twice"]
    )


@contextmanager
def served(model: str, workers: int) -> Iterator[Server]:
    """A server that has this model, and the bundled ones."""
    with tempfile.TemporaryDirectory() as scratch, toy_families(Path(scratch)) as env:
        home = Path(scratch) / "data"
        registered(home, model)
        threads = {"OMP_NUM_THREADS": "1"}
        with serving(workers=workers, data_dir=home, env={**env, **threads}) as server:
            yield server


async def trial(plan: Plan, server: Server, seconds: float, every: float) -> dict[str, Any]:
    """An undisturbed run, and one with kills; how the second differs, and what it took."""
    expected = await told(plan, 0.0)
    stop, port = asyncio.Event(), int(server.address.rpartition(":")[2])
    killer = asyncio.create_task(killing(lambda: listening(server.workers, port), every, stop))
    began = time.monotonic()
    try:
        found = await told(plan, seconds)
    finally:
        took = time.monotonic() - began
        stop.set()
        late = await killer
    pauses = [each.pause for each in found]
    return {
        "deterministic": plan.deterministic,
        "streams": plan.streams,
        "messages": sum(len(each.steps) for each in found),
        "observations": sum(each.steps[-1] for each in found),
        "took_s": took,
        "kills": len(late),
        "largest_delay_of_a_kill_s": max(late, default=0.0),
        "resumes": sum(each.resumes for each in found),
        "replayed": sum(each.replayed for each in found),
        "longest_pause_s": max(pauses),
        "median_longest_pause_s": statistics.median(pauses),
        **compared(found, expected),
    }


if __name__ == "__main__":
    main()
