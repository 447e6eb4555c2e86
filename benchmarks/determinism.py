"""What determinism costs: steps per second of deterministic and of ordinary sessions.

    python -m benchmarks.determinism [--model NAME] [--rounds N] [--seconds S]

Deterministic sessions are stepped in batches of one fixed shape and never scanned, so that outputs
are the same bits whoever shares the batch and however values are cut into messages. Both kinds are
stepped in turn through one plane in this process, all sessions of a side at once. Then one session
of either kind is told the same values alone and in company, in messages of one and of other
lengths: by how much its outputs differ. "toy" is a small recurrent model with random weights;
other names are of bundled ones.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import keep
from benchmarks.load.recurrent import registered
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.sessions.session import Session, SessionOptions
from foretoken.server.sessions.sessions import Sessions
from foretoken.server.sessions.stepping import FIXED
from foretoken.server.settings import load_settings
from foretoken.server.terms import Terms
from tests.toy_families import toy_families

COUNTS, LENGTHS = (1, 16, 256), (1, 32)  # sessions, and steps of a message
KINDS = {"deterministic": True, "ordinary": False}
ANYONE = Terms()
COMPANY = 40  # sessions beside the one that is looked at
TOLD = 300  # observations of it
CUTS = (5, 130, 1, 2)  # of its messages

Floats = NDArray[np.float64]
Outputs = dict[str, NDArray[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="toy")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each side in a round")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, toy_families(Path(scratch)):
        home = Path(scratch) / "data"
        registered(home, args.model)
        with (
            Registry.open(home) as registry,
            LocalPlane(registry, load_settings(data_dir=home)) as plane,
        ):
            sessions = plane.plane.sessions
            rates = plane.run(measured(sessions, args.model, args.rounds, args.seconds))
            company = {
                kind: plane.run(disturbed(sessions, args.model, fixed))
                for kind, fixed in KINDS.items()
            }
    print(f"{'sessions':>8} {'a message':>9} {'deterministic':>14} {'ordinary':>12} {'ratio':>6}")
    for row in rates:
        print(
            f"{row['sessions']:8} {row['steps_a_message']:9} {row['deterministic']:12.0f}/s "
            f"{row['ordinary']:10.0f}/s {row['ratio']:6.2f}"
        )
    for kind, found in company.items():
        print(f"{kind}: {found}")
    keep(
        "determinism",
        {**vars(args), "batch": FIXED, "steps_per_s": rates, "company": company}
        | {"load": os.getloadavg()},
    )
    fixed = company["deterministic"]
    if not (
        fixed["in company"]["bit_equal"] and fixed["in company, in other messages"]["bit_equal"]
    ):
        raise SystemExit("outputs of deterministic sessions depend on who shares their batch")


async def begun(sessions: Sessions, model: str, count: int, deterministic: bool) -> list[Session]:
    options = SessionOptions(deterministic=deterministic)
    return [await sessions.open(model, ANYONE, options) for _ in range(count)]


async def measured(
    sessions: Sessions, model: str, rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Medians of steps per second of either kind, for each number of sessions and of steps."""
    found: list[dict[str, Any]] = []
    for count in COUNTS:
        sides = {k: await begun(sessions, model, count, fixed) for k, fixed in KINDS.items()}
        for steps in LENGTHS:
            taken: dict[str, list[float]] = {kind: [] for kind in sides}
            for _ in range(rounds + 1):
                for kind, ours in sides.items():
                    taken[kind].append(await rate(sessions, ours, steps, seconds))
            medians = {kind: statistics.median(each[1:]) for kind, each in taken.items()}
            ratio = medians["deterministic"] / medians["ordinary"]
            found.append({"sessions": count, "steps_a_message": steps, **medians, "ratio": ratio})
        for ours in sides.values():
            await ended(sessions, ours)
    return found


async def rate(sessions: Sessions, ours: Sequence[Session], steps: int, seconds: float) -> float:
    """Steps per second of sessions that are all told so many at once, again and again."""
    rng = np.random.default_rng(0)
    told = rng.standard_normal((steps, ours[0].width))
    began, made = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds or not made:
        await asyncio.gather(*(sessions.step(each, told, ANYONE) for each in ours))
        made += steps * len(ours)
    return made / took if took else float("inf")


async def disturbed(sessions: Sessions, model: str, deterministic: bool) -> dict[str, Any]:
    """How outputs in company, and in messages of other lengths, differ from those alone."""
    ours = await begun(sessions, model, 3, deterministic)
    rng = np.random.default_rng(1)
    values = rng.standard_normal((TOLD, ours[0].width))
    alone = await pushed(sessions, ours[0], values)
    others = [
        each
        for fixed in KINDS.values()
        for each in await begun(sessions, model, COMPANY // 2, fixed)
    ]
    noise = [
        asyncio.ensure_future(pushed(sessions, each, rng.standard_normal(values.shape)))
        for each in others
    ]
    together = await pushed(sessions, ours[1], values)
    otherwise = await pushed(sessions, ours[2], values, CUTS)
    await asyncio.gather(*noise)
    await ended(sessions, [*ours, *others])
    return {
        "others": len(others),
        "in company": differing(alone, together),
        "in company, in other messages": differing(alone, otherwise),
    }


def differing(alone: Outputs, found: Outputs) -> dict[str, Any]:
    """Whether outputs are the same bits, and the largest difference relative to their scale."""
    off = [float(np.abs(a - found[name]).max() / np.abs(a).max()) for name, a in alone.items()]
    same = all(a.tobytes() == found[name].tobytes() for name, a in alone.items())
    return {"bit_equal": same, "largest_difference": max(off)}


async def pushed(
    sessions: Sessions, session: Session, values: Floats, lengths: Sequence[int] = (1,)
) -> Outputs:
    """Outputs of all values, told in messages of these lengths, in turn."""
    replies, start = [], 0
    for length in cycle(lengths):
        replies.append(await sessions.step(session, values[start : start + length], ANYONE))
        start += length
        if start >= len(values):
            break
    return {
        name: np.concatenate([each.outputs[name] for each in replies])
        for name in replies[0].outputs
    }


async def ended(sessions: Sessions, ours: Sequence[Session]) -> None:
    for each in ours:
        await sessions.close(each)


if __name__ == "__main__":
    main()
