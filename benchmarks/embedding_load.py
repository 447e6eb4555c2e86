"""Short texts while long requests run, and three times more of both than the server can answer.

    python -m benchmarks.embedding_load [--seconds S]

A server on one core has all-MiniLM-L6-v2, imported as people do. Queries of 3 to 20 tokens come
alone, a text a call; other calls bring 200 texts of 60 to 200 tokens. The capacity
is what closed loops of each kind reach alone, measured first. Then calls arrive by Poisson
processes whatever became of the earlier ones: queries alone, at a tenth of their capacity
("unloaded") and at three; at 60 %, half of it from each kind ("mixed"); and at 300 %, again half
from each ("overload"), and all of it from queries ("flood"). Queries have a deadline of a second,
long calls one of twenty; answers after it count for nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.embedding import corpus
from benchmarks.embedding.sides import imported, minilm
from benchmarks.embedding.work import tokens
from benchmarks.load.generator import Job, Result
from benchmarks.load.house import Server, prepared, serving
from benchmarks.load.processes import generate, generating
from foretoken import Client
from foretoken.proto import embeddings as wire

EMBED = "/foretoken.v1.Embeddings/Embed"
MODEL = "minilm"
QUERIES = 512  # different ones
SHORT, LONG = (3, 20), (60, 200)  # tokens of a query, and of a long text: least and most
TEXTS, CALLS = 200, 8  # of a long call; different ones
CALM, BUSY, TIMES = 0.1, 0.6, 3.0  # of the capacity
DEADLINES = {"queries": 1.0, "long": 20.0}
AIM = 3.0  # 99th percentile of queries while long calls run, over that of the unloaded server
LOOP = 16  # callers of the closed loop
FEWEST = 4  # long calls of the mixed load, give or take


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="of the mixed load")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        imported(Path(folder) / "data", minilm())
        (Path(folder) / "token").write_text(prepared(Path(folder) / "data"))
        with serving(Path(folder), threads=1) as server:
            result = measured(server, Loads.of(MODEL, *texts()), args.seconds)
    show(result)
    keep("embedding_load", {**result, "aim": AIM, "load": os.getloadavg()})


def texts() -> tuple[list[str], list[list[str]]]:
    """Queries, and the texts of each long call; all are different."""
    given = corpus.texts(8 * TEXTS * CALLS)
    counts = tokens(minilm(), given).all
    queries = [t for t, n in zip(given, counts, strict=True) if SHORT[0] <= n <= SHORT[1]]
    long = [t for t, n in zip(given, counts, strict=True) if LONG[0] <= n <= LONG[1]]
    calls = min(CALLS, len(long) // TEXTS)
    return queries[:QUERIES], [long[i * TEXTS : (i + 1) * TEXTS] for i in range(calls)]


@dataclass(frozen=True)
class Loads:
    """Both kinds of calls to a model, as messages."""

    model: str
    queries: tuple[bytes, ...]
    long: tuple[bytes, ...]
    first: Sequence[str] = field(repr=False)  # texts of a long call

    @classmethod
    def of(cls, model: str, queries: Sequence[str], long: Sequence[Sequence[str]]) -> Loads:
        """From texts of queries, and those of each long call."""
        return cls(
            model,
            tuple(message(model, [query]) for query in queries),
            tuple(message(model, each) for each in long),
            long[0],
        )


def message(model: str, given: Sequence[str]) -> bytes:
    """A call."""
    return wire.EmbedRequest(model=model, texts=[t.encode() for t in given]).SerializeToString()


def measured(server: Server, loads: Loads, seconds: float) -> dict[str, Any]:
    """All figures of a server that is idle."""
    capacity = capacities(server, loads)
    expected = BUSY / 2 * capacity["long"]  # long calls a second
    shares: dict[str, tuple[dict[str, float], float]] = {
        "unloaded": ({"queries": CALM}, seconds / 3),
        "alone": ({"queries": BUSY / 2}, seconds / 4),
        "mixed": (dict.fromkeys(capacity, BUSY / 2), max(seconds, FEWEST / expected)),
        "overload": (dict.fromkeys(capacity, TIMES / 2), seconds / 4),
        "flood": ({"queries": TIMES}, seconds / 8),
        "after": ({"queries": BUSY / 2}, seconds / 10),
    }
    found = {
        name: under(server, loads, {k: share * capacity[k] for k, share in wanted.items()}, length)
        for name, (wanted, length) in shares.items()
    }
    for name, each in found.items():
        each["answered"] = answered(each, capacity)
        each["offered"] = sum(shares[name][0].values())
    base = found["unloaded"]["queries"]["p99"]
    return {
        "capacity_per_s": capacity,
        "ratio": found["mixed"]["queries"]["p99"] / base,
        "ratio_alone": found["alone"]["queries"]["p99"] / base,
        **found,
    }


def capacities(server: Server, loads: Loads) -> dict[str, float]:
    """Calls per second of each kind alone, each waited for."""
    job = server.job(*loads.queries, method=EMBED, callers=LOOP, seconds=3.0, timeout=None)
    queries = generate(job).rate
    taken = []
    with Client(server.target, token=server.token) as client:
        for _ in range(3):
            start = time.perf_counter()
            client.embed(loads.model, loads.first)
            taken.append(time.perf_counter() - start)
    return {"queries": queries, "long": 1 / statistics.median(taken)}


def under(
    server: Server,
    loads: Loads,
    rates: Mapping[str, float],
    seconds: float,
    deadlines: Mapping[str, float] = DEADLINES,
) -> dict[str, Any]:
    """What becomes of calls that arrive at these rates, by kind; and of the server meanwhile."""
    before = server.watched.memory()
    with watched(server) as seen, ExitStack() as stack:
        running = {
            kind: stack.enter_context(
                generating(job(server, getattr(loads, kind), rate, seconds, deadlines[kind], seed))
            )
            for seed, (kind, rate) in enumerate(rates.items())
        }
        results = {kind: load.result() for kind, load in running.items()}
    return {
        **{kind: told(result) for kind, result in results.items()},
        "seconds": max(result.seconds for result in results.values()),
        "most_waiting": seen.waiting,
        "rss_mib": {"before": before, "highest": seen.memory},
    }


def job(
    server: Server,
    payloads: tuple[bytes, ...],
    rate: float,
    seconds: float,
    deadline: float,
    seed: int = 0,
) -> Job:
    """Calls of one kind."""
    open_loop = {"phases": ((rate, seconds),), "seed": seed, "channels": 4}
    return server.job(*payloads, method=EMBED, timeout=deadline, **open_loop)


def told(load: Result) -> dict[str, Any]:
    """The part of a generator's result that is kept."""
    refused = load.codes.get("RESOURCE_EXHAUSTED", 0)
    return {
        "calls": load.calls,
        "codes": load.codes,
        "p50": load.p50,
        "p99": load.p99,
        "refused_share": refused / max(1, load.calls),
        "refused_ms": {"p50": load.refused[0], "p99": load.refused[1]},
        "with_retry_after": load.pushback / max(1, refused),
        "generator": load.cpu,
        "generator_late_ms": load.late,
    }


def answered(found: Mapping[str, Any], capacity: Mapping[str, float]) -> float:
    """Answers in time as a share of the capacity, over both kinds, until the last one's end."""
    shares = [found[k]["codes"].get("OK", 0) / capacity[k] for k in capacity if k in found]
    return float(sum(shares) / found["seconds"])


@dataclass
class Seen:
    """The most that was seen."""

    memory: float = 0.0  # MiB
    waiting: float = 0.0  # calls of the runtime


@contextmanager
def watched(server: Server, every: float = 0.2) -> Iterator[Seen]:
    """Look at a server's memory and queue while the block runs."""
    seen, done = Seen(), threading.Event()

    def look() -> None:
        while not done.wait(every):
            seen.memory = max(seen.memory, server.watched.memory())
            try:
                seen.waiting = max(seen.waiting, server.total("foretoken_calls_waiting"))
            except OSError:  # too busy to tell in ten seconds
                seen.waiting = max(seen.waiting, np.inf)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def show(result: Mapping[str, Any]) -> None:
    capacity = result["capacity_per_s"]
    print(
        f"capacity: {capacity['queries']:.0f} queries/s, or {capacity['long']:.2f} calls/s of "
        f"{TEXTS} long texts\n{'':>18} {'calls':>6} {'offered':>8} {'answered':>8} {'p50 ms':>8} "
        f"{'p99 ms':>8} {'refused':>8} {'in ms':>7} {'p99':>7} {'waiting':>8} {'MiB':>6}"
    )
    for name in ("unloaded", "alone", "mixed", "overload", "flood", "after"):
        row = result[name]
        for kind in (k for k in DEADLINES if k in row):
            each, refused = row[kind], row[kind]["refused_ms"]
            print(
                f"{name + ', ' + kind:>18} {each['calls']:6} {row['offered']:8.2f} "
                f"{row['answered']:8.2f} {each['p50']:8.1f} {each['p99']:8.1f} "
                f"{each['refused_share']:8.2f} {refused['p50']:7.1f} {refused['p99']:7.1f} "
                f"{row['most_waiting']:8.0f} {row['rss_mib']['highest']:6.0f}"
            )
    print(
        f"p99 of queries while long calls run: {result['ratio']:.1f} times that of the unloaded "
        f"server (aim <= {AIM:g}); at their own rate alone {result['ratio_alone']:.1f} times"
    )


if __name__ == "__main__":
    main()
