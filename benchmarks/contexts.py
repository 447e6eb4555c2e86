"""Fitted tables over the wire: what is reached of the runtime's own throughput and latency.

    python -m benchmarks.contexts [--model tabpfn | --artefact DIR] [--rounds N] [--seconds S]

50 callers have a context each and ask for ten rows at a time. Beside them ONNX Runtime runs the
same queries in this process on the server's core and does nothing else: no wire, no preprocessing,
no ensemble; one query a call, or as many as it does best, merged beforehand at no charge. Then one
caller asks for one row against 1,000. Each side is measured in turn. Processor time stands beside
the clock's: on a shared machine only the former is the program's own. Figures of an artefact that
was given are printed and not kept.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import keep
from benchmarks.load.house import Server, serving
from benchmarks.load.processes import generate
from benchmarks.tables.bare import Bare, Measured, clock
from benchmarks.tables.queries import Question, question
from foretoken.client import Client
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled

CALLERS, ROWS, COLUMNS, ASKED = 50, 500, 20, 10
TOGETHER = (2, 4, 8)  # queries in one call of the bare runtime
AIM_THROUGHPUT, AIM_LATENCY = 0.7, 3.0
METHOD = "/foretoken.v1.Tabular/Predict"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tabpfn", choices=bundled(), help="a bundled model")
    parser.add_argument("--artefact", type=Path, help="folder of a model with graphs, instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    args = parser.parse_args()
    many = [question(i, ROWS, COLUMNS, ASKED) for i in range(CALLERS)]
    one = question(CALLERS, 1000, COLUMNS, 1)
    with tempfile.TemporaryDirectory() as scratch:
        name, artefact = chosen(args.model, args.artefact)
        bare = Bare(artefact)
        with served(name, artefact, Path(scratch)) as (server, client):
            result = {
                "model": {"name": name, "config": dict(artefact.config)},
                "contexts": fitted(client, name, many),
                "throughput": throughput(server, client, bare, many, args.rounds, args.seconds),
                "one row": latency(server, client, name, bare, one, args.rounds, args.seconds),
            }
    show(result)
    if args.artefact is None:
        keep("contexts", {**result, "load": os.getloadavg()})


def chosen(model: str, given: Path | None) -> tuple[str, Artefact]:
    """What was given, or is bundled; and its name."""
    if given is not None:
        return "given", Artefact.read(given)
    return model, Artefact.read(bundled()[model])


@contextmanager
def served(name: str, artefact: Artefact, scratch: Path) -> Iterator[tuple[Server, Client]]:
    """A server on one core, and a client with its token."""
    folder = next(iter(artefact.files.values())).parent
    models = {} if name in bundled() else {name: [folder]}
    (scratch / "server").mkdir()
    with (
        serving(scratch / "server", models, threads=1) as server,
        Client(server.target, token=server.token, timeout=300) as client,
    ):
        yield server, client


def fitted(client: Client, model: str, questions: Sequence[Question]) -> dict[str, Any]:
    """Fit all, and again: seconds of either, bytes, and whether the second was a HIT."""
    cold, warm, hits = [], [], 0
    client.fit(model, *question(-1, ROWS, COLUMNS, 1).known)  # loads the model
    announced = client.measure(model, *questions[0].known)
    for each in questions:
        seconds, made = clock(partial(client.fit, model, *each.known))
        if made.cached:
            raise RuntimeError("a table that was never fitted was there")
        each.context = made.id
        cold.append(seconds)
    for each in questions:
        seconds, again = clock(partial(client.fit, model, *each.known))
        hits += again.cached and again.id == each.context
        warm.append(seconds)
    record = client.context(questions[0].context)
    return {
        "count": len(questions),
        "rows": ROWS,
        "columns": COLUMNS,
        "members": record.members,
        "fit_s": statistics.median(cold),
        "fit_again_s": statistics.median(warm),
        "hits_of_fit_again": hits / len(questions),
        "announced_bytes": announced,
        "bytes": record.nbytes,
        "kept_bytes": record.kept_nbytes,
    }


def throughput(
    server: Server,
    client: Client,
    bare: Bare,
    questions: Sequence[Question],
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Queries per second of 50 callers and of the bare runtime, medians of rounds."""
    calls = [bare.query(each) for each in questions]
    payloads = tuple(each.payload() for each in questions)
    alone = [client.predict(each.context, each.test).probabilities for each in questions]
    names = ["wire", *(f"bare, {k}" for k in (1, *TOGETHER))]
    rates: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [] for name in names}
    before, batches = outcomes(server), counts(server)
    for _ in range(rounds):
        found = [loaded(server, payloads, CALLERS, seconds)]
        found += [bare.rate(calls, k, seconds / 3) for k in (1, *TOGETHER)]
        for name, each in zip(names, found, strict=True):
            rates[name].append(each.rate)
            cpu[name].append(each.cpu_ms)
    with ThreadPoolExecutor(CALLERS) as pool:
        together = pool.map(lambda q: client.predict(q.context, q.test).probabilities, questions)
        off = max(np.abs(a - b).max() for a, b in zip(alone, together, strict=True))
    settle()
    after = {k: n - before.get(k, 0) for k, n in outcomes(server).items()}
    ran = [b - a for a, b in zip(batches, counts(server), strict=True)]
    medians = {name: statistics.median(each) for name, each in rates.items()}
    costs = {name: statistics.median(each) for name, each in cpu.items()}
    return {
        "callers": CALLERS,
        "rows_a_query": ASKED,
        "queries_per_s": medians,
        "of_bare_unbatched": medians["wire"] / medians["bare, 1"],
        "of_bare_best": medians["wire"] / max(medians[name] for name in names[1:]),
        "cpu_ms_a_query": costs,
        "of_bare_unbatched_cpu": costs["bare, 1"] / costs["wire"],
        "of_bare_best_cpu": min(costs[name] for name in names[1:]) / costs["wire"],
        "aim": AIM_THROUGHPUT,
        "hits": after.get("hit", 0) / sum(after.values()),
        "batch_rows": ran[1] / ran[0],
        "batched_less_alone": float(off),
    }


def loaded(server: Server, payloads: Sequence[bytes], callers: int, seconds: float) -> Measured:
    """What callers with a question each get of the server."""
    cpu = server.watched.cpu()
    job = server.job(*payloads, method=METHOD, callers=callers, seconds=seconds, timeout=60.0)
    result = generate(job)
    if result.failed:
        raise RuntimeError(f"{result.failed} calls failed: {result.details}")
    spent = server.watched.cpu() - cpu
    return Measured(result.rate, 1e3 * spent / (result.calls + result.uncounted), result.p50)


def latency(
    server: Server,
    client: Client,
    model: str,
    bare: Bare,
    one: Question,
    rounds: int,
    seconds: float,
) -> dict[str, Any]:
    """Milliseconds of one row over gRPC, by the client, and of the bare call."""
    fit_s, made = clock(partial(client.fit, model, *one.known))
    one.context = made.id
    call, payload = bare.query(one), one.payload()
    found: dict[str, list[float]] = {"grpc": [], "client": [], "bare": []}
    cpu: dict[str, list[float]] = {"grpc": [], "bare": []}
    for _ in range(rounds):
        ask = partial(client.predict, one.context, one.test)
        found["client"].append(1e3 * statistics.median(clock(ask)[0] for _ in range(100)))
        over, alone = loaded(server, [payload], 1, seconds), bare.rate([call], 1, seconds / 3)
        for name, each in (("grpc", over), ("bare", alone)):
            found[name].append(each.p50_ms)
            cpu[name].append(each.cpu_ms)
    p50 = {name: statistics.median(each) for name, each in found.items()}
    return {
        "rows": len(one.labels),
        "fit_s": fit_s,
        "bytes": made.nbytes,
        "p50_ms": p50,
        "over_bare": p50["grpc"] / p50["bare"],
        "cpu_ms": {name: statistics.median(each) for name, each in cpu.items()},
        "aim": AIM_LATENCY,
    }


def outcomes(server: Server) -> dict[str, float]:
    """Predictions by what was found of their context, since the start."""
    found = server.metrics().get("foretoken_context_requests_total", {})
    sums: dict[str, float] = {}
    for labels, value in found.items():
        outcome = dict(labels)["outcome"]
        sums[outcome] = sums.get(outcome, 0.0) + value
    return sums


def counts(server: Server) -> tuple[float, float]:
    """Batches and their rows, since the start; a query has a row for each ensemble member."""
    rows = "foretoken_batch_rows"
    return server.total(f"{rows}_count"), server.total(f"{rows}_sum")


def settle() -> None:
    """Workers share their counts every half second."""
    time.sleep(1.0)


def show(result: Mapping[str, Any]) -> None:
    made, many, one = result["contexts"], result["throughput"], result["one row"]
    print(
        f"\n{result['model']['name']}: {made['count']} contexts of {made['rows']} rows x "
        f"{made['columns']} columns, {made['members']} members\n"
        f"  fit {1e3 * made['fit_s']:.0f} ms, again {1e3 * made['fit_again_s']:.1f} ms "
        f"({100 * made['hits_of_fit_again']:.0f} % HIT)\n"
        f"  {made['bytes'] / 2**20:.2f} MiB each, announced {made['announced_bytes'] / 2**20:.2f}, "
        f"on the disk {made['kept_bytes'] / 2**20:.2f}\n"
        f"\n{many['callers']} callers, {many['rows_a_query']} rows a query, "
        f"{100 * many['hits']:.2f} % HIT, {many['batch_rows']:.1f} members' rows a batch"
    )
    for name, rate in many["queries_per_s"].items():
        print(f"  {name:8} {rate:7.1f} queries/s, {many['cpu_ms_a_query'][name]:.2f} ms CPU each")
    p50, cpu = one["p50_ms"], one["cpu_ms"]
    print(
        f"  the wire reaches {many['of_bare_unbatched']:.2f} of bare unbatched, "
        f"{many['of_bare_best']:.2f} of bare at its best (aim {many['aim']});\n"
        f"  by processor time {many['of_bare_unbatched_cpu']:.2f} and "
        f"{many['of_bare_best_cpu']:.2f}\n"
        f"  in company or alone, probabilities differ by {many['batched_less_alone']:.1e}\n"
        f"\none row against {one['rows']}: gRPC {p50['grpc']:.2f} ms, by the client "
        f"{p50['client']:.2f} ms, bare {p50['bare']:.2f} ms: {one['over_bare']:.2f}x "
        f"(aim {one['aim']}); processor time {cpu['grpc']:.2f} and {cpu['bare']:.2f} ms"
    )


if __name__ == "__main__":
    main()
