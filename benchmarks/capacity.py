"""How many sessions one worker holds, what each costs, and that steps add nothing to it.

    python -m benchmarks.capacity [--open N] [--active N] [--steps N]

One worker on one core; sessions of ``aaren-forecast`` are multiplexed over a few streams. All are
opened and stepped once, then the active ones go on, a message of one observation each, round by
round. One more session is stepped a million times in long messages. Beside it stands what the K/V
cache of a Transformer of the same width and depth takes after as many steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks.common import keep
from benchmarks.load.house import Server, serving
from benchmarks.load.processes import CLIENT
from foretoken.proto import sequences as wire

METHOD = "/foretoken.v1.Sequences/Stream"
MODEL = "aaren-forecast"
STREAMS = 8
LONG = 4096  # observations of a message of the session that takes a million
MIB = 1 << 20


@dataclass
class Line:
    """A stream with many sessions; messages of a round are written while answers are read."""

    call: Any
    sessions: int
    opened: wire.Opened = field(default_factory=wire.Opened)

    async def round(self, messages: list[bytes]) -> list[float]:
        """Send all of them, and wait for as many answers; seconds from the start to each."""
        began = time.perf_counter()
        writing = asyncio.ensure_future(self._write(messages))
        ends = []
        for _ in messages:
            response = wire.SequenceResponse.FromString(await self.call.read())
            if response.HasField("refusal"):
                raise RuntimeError(response.refusal.message)
            if response.HasField("opened"):
                self.opened = response.opened
            ends.append(time.perf_counter() - began)
        await writing
        return ends

    async def _write(self, messages: list[bytes]) -> None:
        for message in messages:
            await self.call.write(message)


def observed(session: int, values: np.ndarray, want: int = wire.EVERY) -> bytes:
    said = wire.Observe(values=values.astype("<f8").tobytes(), steps=len(values), want=want)
    return wire.SequenceRequest(session=session, observe=said).SerializeToString()


async def measure(server: Server, args: argparse.Namespace) -> dict[str, Any]:
    each = args.open // STREAMS
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(server.target, options) as channel:
        begin = channel.stream_stream(METHOD)
        lines = [Line(begin(metadata=server.metadata), each) for _ in range(STREAMS)]
        empty = resident(server)
        opens = [
            wire.SequenceRequest(
                session=n, open=wire.SequenceOpen(model=MODEL, options={"horizon": number(1)})
            ).SerializeToString()
            for n in range(each)
        ]
        seconds = await everywhere(lines, [opens] * STREAMS)
        one = [observed(n, np.array([float(n % 17)])) for n in range(each)]
        await everywhere(lines, [one] * STREAMS)
        full = resident(server)
        live = server.total("foretoken_sessions_live", model=MODEL)
        kept = server.total("foretoken_sessions_bytes", model=MODEL)
        opened = {
            "sessions": live,
            "seconds_to_open": seconds,
            "mib": [empty, full],
            "bytes_per_session": (full - empty) * MIB / live,
            "state_bytes": kept / live,
        }
        print(
            f"{live:,.0f} sessions open in {seconds:.1f} s: {opened['bytes_per_session']:,.0f} "
            f"bytes each in memory, of which {opened['state_bytes']:,.0f} are the state"
        )
        active = await stepping(server, lines, args)
        constant = await lasting(begin(metadata=server.metadata), args.steps)
        for line in lines:
            line.call.cancel()
    return {"open": opened, "active": active, "one_session": constant}


async def stepping(server: Server, lines: list[Line], args: argparse.Namespace) -> dict[str, Any]:
    """The active sessions, round by round, until there were ``args.steps`` steps in all."""
    each, rng = args.active // STREAMS, np.random.default_rng(0)
    rounds = max(2, args.steps // args.active)
    memory, latencies, began = [], [], time.perf_counter()
    for turn in range(rounds):
        values = rng.standard_normal(each)
        messages = [observed(n, values[n : n + 1]) for n in range(each)]
        ends = await asyncio.gather(*(line.round(messages) for line in lines))
        latencies += [max(taken) for taken in ends]
        if turn in (rounds // 10, rounds - 1):
            memory.append(resident(server))
    seconds = time.perf_counter() - began
    steps = rounds * each * STREAMS
    made = {
        "sessions": each * STREAMS,
        "steps": steps,
        "steps_per_second": steps / seconds,
        "round_seconds": statistics.median(latencies),
        "mib": memory,
        "bytes_per_step": (memory[1] - memory[0]) * MIB / (0.9 * steps),
    }
    print(
        f"{made['sessions']:,} active: {steps:,} steps at {made['steps_per_second']:,.0f}/s, "
        f"{memory[0]:.1f} MiB after a tenth, {memory[1]:.1f} MiB after all"
    )
    return made


async def lasting(call: Any, steps: int) -> dict[str, Any]:
    """One session: bytes of its state at step 10 and at the last."""
    line, rng = Line(call, 1), np.random.default_rng(1)
    opening = wire.SequenceRequest(open=wire.SequenceOpen(model=MODEL))
    await line.round([opening.SerializeToString()])
    taken: dict[str, dict[str, float]] = {}
    done = 0
    for until in (10, steps):
        while done < until:
            count = min(LONG, until - done)
            await line.round([observed(0, rng.standard_normal(count).cumsum(), wire.NOTHING)])
            done += count
        taken[str(until)] = await snapshot(call)
    widths = json.loads(artefact().read_text("utf-8"))["config"]
    cache = 2 * widths["layers"] * widths["width"] * 4
    for step, said in taken.items():
        said["transformer_cache_bytes"] = cache * int(step)
        print(
            f"step {int(step):,}: state {said['state_bytes']:,.0f} bytes, snapshot "
            f"{said['snapshot_bytes']:,}; the K/V cache of a Transformer "
            f"{said['transformer_cache_bytes']:,}"
        )
    return taken


async def snapshot(call: Any) -> dict[str, float]:
    from foretoken.server.sessions.state import from_bytes  # noqa: PLC0415

    asked = wire.SequenceRequest(snapshot=wire.TakeSnapshot(bytes_only=True))
    await call.write(asked.SerializeToString())
    response = wire.SequenceResponse.FromString(await call.read())
    data = response.snapshot.data
    arrays = from_bytes(data).arrays
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise RuntimeError("a state is not finite")
    return {
        "state_bytes": float(sum(array.nbytes for array in arrays.values())),
        "snapshot_bytes": len(data),
    }


async def everywhere(lines: list[Line], messages: list[list[bytes]]) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(line.round(m) for line, m in zip(lines, messages, strict=True)))
    return time.perf_counter() - began


def number(value: float) -> Any:
    from foretoken.proto import tabular  # noqa: PLC0415

    return tabular.Option(number=value)


def artefact() -> Path:
    import foretoken.models.aaren  # noqa: PLC0415

    home = Path(foretoken.models.aaren.__file__).parent
    return home / "weights" / "artefact.json"


def resident(server: Server) -> float:
    time.sleep(1.0)
    return server.watched.memory()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--open", type=int, default=100_000)
    parser.add_argument("--active", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    args = parser.parse_args()
    os.sched_setaffinity(0, [CLIENT])
    bounds = {"stream_sessions": args.open, "log": "errors", "session_idle": 3600}
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **bounds) as server:
        result = asyncio.run(measure(server, args))
    keep("capacity", result)


if __name__ == "__main__":
    main()
