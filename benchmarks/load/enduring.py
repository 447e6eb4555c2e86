"""Durable streams that are told numbered values at a pace, and what came of each of them.

A value is known by its stream and its number, so that a run in which workers are killed can be held
against one that nothing happens to: an output that is lost or comes twice, or a state that has seen
a value twice or never, is another one than there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.client import AsyncClient
from foretoken.server.sessions.state import from_bytes

__all__ = ["Plan", "Told", "compared", "killing", "listening", "told"]

LENGTHS = (1, 3, 1, 2)  # observations of a stream's messages, in turn
PATIENCE = 300.0  # seconds for one answer
MOMENT = 0.1  # seconds
LISTEN = "0A"  # the state of a socket, as the kernel tells it

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Plan:
    """What is told to a server.

    Args:
        address: of the server.
        model: recurrent, of one number or several a step.
        streams: that there are at a time, each on a connection of its own.
        messages: of each of them.
        deterministic: whether sessions are.
    """

    address: str
    model: str
    streams: int
    messages: int
    deterministic: bool


@dataclass(frozen=True)
class Told:
    """What came of one stream.

    Args:
        steps: after each message, as the client counts.
        outputs: by name, those of all observations, [T, ...].
        state: the snapshot's bytes behind the last message.
        resumes: times that the stream broke and the session went on.
        replayed: observations that were told again then.
        pause: the longest wait for an answer, seconds.
    """

    steps: tuple[int, ...]
    outputs: dict[str, NDArray[Any]]
    state: bytes
    resumes: int
    replayed: int
    pause: float


def value(stream: int, number: int, width: int) -> Floats:
    """A message's observations, [T, D]."""
    rng = np.random.default_rng((stream, number))
    return rng.standard_normal((LENGTHS[number % len(LENGTHS)], width))


async def told(plan: Plan, seconds: float) -> list[Told]:
    """Tell every stream its values, spread over so many seconds, or as fast as it goes with 0."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [
            await stack.enter_async_context(AsyncClient(plan.address, timeout=PATIENCE))
            for _ in range(plan.streams)
        ]
        tasks = [
            group.create_task(_stream(client, plan, number, seconds))
            for number, client in enumerate(clients)
        ]
        await asyncio.wait(tasks)
    return [task.result() for task in tasks]


async def _stream(client: AsyncClient, plan: Plan, stream: int, seconds: float) -> Told:
    every = seconds / plan.messages
    outs, pause = [], 0.0
    async with client.stream(plan.model, durable=True, deterministic=plan.deterministic) as session:
        width = session.opened.width
        due = time.monotonic() + every * stream / plan.streams
        for number in range(plan.messages):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += every
            began = time.monotonic()
            outs.append(await session.push(value(stream, number, width)))
            pause = max(pause, time.monotonic() - began)
        state = await session.snapshot(keep=False)
    assert state.data is not None
    return Told(
        tuple(each.step for each in outs),
        {name: np.concatenate([each[name] for each in outs]) for name in outs[0]},
        state.data,
        session.resumes,
        session.replayed,
        pause,
    )


async def killing(
    serving: Callable[[], Sequence[int]], every: float, stop: asyncio.Event
) -> list[float]:
    """SIGKILL to the worker that has lived longest, every so many seconds.

    The only one that serves is spared until another does: how soon a machine starts a worker is
    not the question here.

    Args:
        serving: process ids of workers that serve now, in the order in which they were started.
        every: seconds.
        stop: ends it.

    Returns:
        Of each kill, the seconds by which it was put off.
    """
    late: list[float] = []
    due = time.monotonic() + every
    while not await _within(stop, max(MOMENT, due - time.monotonic())):
        there = serving() if time.monotonic() >= due else []
        if len(there) > 1:
            os.kill(there[0], signal.SIGKILL)
            late.append(time.monotonic() - due)
            due = max(due + every, time.monotonic())
    return late


async def _within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await stop.wait()
    except TimeoutError:
        return False


def listening(pids: Sequence[int], port: int) -> list[int]:
    """Those of some processes that accept connections on a TCP port."""
    tables = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))  # gRPC listens on either
    lines = [line for table in tables for line in table.read_text("ascii").splitlines()[1:]]
    sockets = {
        f"socket:[{fields[9]}]"
        for fields in map(str.split, lines)
        if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    return [pid for pid in pids if not sockets.isdisjoint(_files(pid))]


def _files(pid: int) -> set[str]:
    """What a process has open."""
    found = set()
    with suppress(OSError):  # it may end meanwhile
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(os.readlink(file))
    return found


def compared(found: Sequence[Told], expected: Sequence[Told]) -> dict[str, Any]:
    """How runs of the same plan differ: counts of streams, and the largest relative difference."""
    same, lost, twice, off = 0, 0, 0, 0.0
    for ours, theirs in zip(found, expected, strict=True):
        missing = len(theirs.steps) - len(set(ours.steps))
        seen, due = from_bytes(ours.state).step, from_bytes(theirs.state).step
        lost += missing > 0 or seen < due
        twice += len(ours.steps) > len(set(ours.steps)) or seen > due
        same += (
            ours.steps == theirs.steps
            and ours.state == theirs.state
            and all(
                ours.outputs[name].tobytes() == made.tobytes()
                for name, made in theirs.outputs.items()
            )
        )
        for name, made in theirs.outputs.items():
            scale = float(np.abs(made).max()) or 1.0
            if made.shape != ours.outputs[name].shape:
                off = float("inf")
            else:
                off = max(off, float(np.abs(ours.outputs[name] - made).max()) / scale)
    return {
        "finished": len(found),
        "bit_equal": same,
        "largest_difference": off,
        "with_lost": lost,
        "with_twice": twice,
    }
