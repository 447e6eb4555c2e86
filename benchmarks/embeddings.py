"""Texts per second, beside sentence-transformers on the same weights: torch, and its ONNX backend.

    python -m benchmarks.embeddings [--texts N] [--rounds N] [--cores 1,2]

The weights are those of all-MiniLM-L6-v2; the texts are of mixed length, from the documentation on
this machine (``embedding.corpus``). Every side is a process of its own, on the same cores as the
others, with a thread for each; rounds measure them in turn, and medians are told. sentence-
transformers sorts texts by length itself; the size of its batches, and for ONNX whether its graph
is optimised as it documents (O3), is what was fastest on a part of the texts. Ours are measured in
a process (``foretoken.Embedder``) and over gRPC, the client on the last core. Beside float32 stand
bfloat16 and int8 of both, and our static encoder. Cosines are those with the vectors of
sentence-transformers in float32. On one core rates are those of processor time, since a machine may
be shared, else of the clock.

Processes are put on their cores once ONNX Runtime is loaded (see ``embedding.side``), all but our
server, which is started on them: on one core its int8 is slower for that reason.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import keep
from benchmarks.embedding import corpus
from benchmarks.embedding.side import LEAST, WARM
from benchmarks.embedding.sides import Command, Side, commands, minilm, registered
from benchmarks.embedding.work import Tokens, flops, rates, tokens
from benchmarks.load.house import Server, prepared, serving
from benchmarks.load.processes import CLIENT, CORES
from foretoken import Client, Embedder
from foretoken.errors import ForetokenWarning
from foretoken.models.layers.hf.folder import Folder
from foretoken.models.text_encoder.huggingface import bert_shape

PEERS = ("sentence-transformers", "sentence-transformers, ONNX")
TRIAL = 160  # texts by which the way of a side is chosen
AIMS = {"float32": 3.5, "int8": 6.0, "bfloat16": 6.0, "static": 100.0}
LEVELS = (0, 5, 25, 50, 75, 90, 95, 100)

Taken = dict[str, float]
Measure = Callable[[Path], Taken]  # told where to put the vectors
Vectors = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", default="1,2", help="on how many cores, one after the other")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ForetokenWarning)  # that texts are cut, as everybody cuts them
    teacher, given = minilm(), corpus.texts(args.texts)
    counted, shape = tokens(teacher, given), bert_shape(Folder.read(teacher))
    result: dict[str, Any] = {"texts": len(given), "tokens": distribution(counted), "aims": AIMS}
    with tempfile.TemporaryDirectory() as folder:
        house = Path(folder) / "house"
        ours = registered(house / "data", teacher, Path(folder))
        (house / "token").write_text(prepared(house / "data"))
        started = commands(teacher, house / "data", ours, Path(folder) / "graphs")
        for count in sorted({min(int(c), len(CORES)) for c in args.cores.split(",")}):
            cores = CORES[:count]
            with measures(started, ours, house, given, cores) as sides:
                found, made = rounds(sides, Path(folder), args.rounds)
            with on(cores):
                gemm = rates(shape, count)
            rows = table(found, made, counted, flops(shape, counted.read), gemm, count)
            show(count, gemm, rows)
            rates_told = {name: rate / 1e9 for name, rate in gemm.items()}
            result[f"{count} cores"] = {"gemm_gflops": rates_told, "sides": rows}
    keep("embeddings", {**result, "load": os.getloadavg()})


def distribution(counted: Tokens) -> dict[str, Any]:
    """How long the texts are; printed, too."""
    percentiles = np.percentile(counted.all, LEVELS).astype(int).tolist()
    found = {f"{level} %": n for level, n in zip(LEVELS, percentiles, strict=True)}
    read, cut = int(counted.read.sum()), float((counted.all > counted.read).mean())
    print(
        f"{len(counted.all)} texts; tokens by percentile "
        + ", ".join(f"{level}: {n}" for level, n in found.items())
        + f"; mean {counted.all.mean():.0f}; {read:,} are read, {100 * cut:.0f} % of texts cut"
    )
    return {"percentiles": found, "mean": float(counted.all.mean()), "read": read, "cut": cut}


@contextmanager
def on(cores: Sequence[int]) -> Iterator[None]:
    """Run what is in the block on these cores, and what it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def measures(
    started: Mapping[str, Command],
    ours: Mapping[str, str],
    house: Path,
    given: Sequence[str],
    cores: Sequence[int],
) -> Iterator[dict[str, Measure]]:
    """How to measure each side, all of them running and warm, those of peers in their best way."""
    whole, part = house / "all.json", house / "part.json"
    whole.write_text(json.dumps(list(given)), "utf-8")
    part.write_text(json.dumps(list(given[:: max(1, len(given) // TRIAL)])), "utf-8")
    with ExitStack() as stack:
        sides: dict[str, Measure] = {}
        for name, command in started.items():
            side = stack.enter_context(Side(command, cores))
            way = best(side, part)
            print(f"{name}{way and f': {way}'}", flush=True)
            sides[name] = partial(side.embed, whole, way)
        server = stack.enter_context(serving(house, cores=cores))
        stack.enter_context(on([CLIENT]))
        for name, model in ours.items():
            client = stack.enter_context(Client(server.target, token=server.token))
            embedder = Embedder(model, client)
            embedder.embed(given[:WARM])
            sides[f"gRPC, {name}"] = partial(asked, server, embedder, given)
        yield sides


def best(side: Side, texts: Path) -> str:
    """The fastest way of a side."""
    spent = {way: side.embed(texts, way, warm=True)["cpu_seconds"] for way in side.ways}
    return min(spent, key=lambda way: spent[way])


def asked(server: Server, embedder: Embedder, given: Sequence[str], out: Path) -> Taken:
    """What it takes a server to embed the texts, and what share of the tokens it computed is real.

    Seconds of the processor are the server's.
    """
    before, passes = _computed(server), 0
    wall, cpu = time.perf_counter(), server.watched.cpu()
    while not passes or time.perf_counter() - wall < LEAST:
        vectors = embedder.embed(given)
        passes += 1
    spent, worked = time.perf_counter() - wall, server.watched.cpu() - cpu
    real, padding = (b - a for a, b in zip(before, _computed(server), strict=True))
    np.save(out, vectors)
    return {
        "seconds": spent / passes,
        "cpu_seconds": worked / passes,
        "real": real / (real + padding),
    }


def _computed(server: Server) -> tuple[float, float]:
    name = "foretoken_batch_tokens_total"
    return server.total(name, content="real"), server.total(name, content="padding")


def rounds(
    sides: Mapping[str, Measure], scratch: Path, count: int
) -> tuple[dict[str, Taken], dict[str, Vectors]]:
    """Medians over so many rounds, and the vectors of each side."""
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    files = {name: scratch / f"{i}.npy" for i, name in enumerate(sides)}
    for number in range(count):
        print(f"round {number + 1} of {count}", flush=True)
        for name, measure in sides.items():
            taken[name].append(measure(files[name]))
    medians = {
        name: {key: statistics.median(each[key] for each in found) for key in found[0]}
        for name, found in taken.items()
    }
    return medians, {name: np.load(file) for name, file in files.items()}


def table(
    found: Mapping[str, Taken],
    made: Mapping[str, Vectors],
    counted: Tokens,
    work: float,
    gemm: Mapping[str, float],
    cores: int,
) -> dict[str, dict[str, Any]]:
    """A row per side: rates, ratios, cosines, and what share of the machine's products' rate."""
    clock = "cpu_seconds" if cores == 1 else "seconds"
    rows: dict[str, dict[str, Any]] = {}
    for name, taken in found.items():
        seconds, precision = taken[clock], name.rpartition(" ")[2]
        rows[name] = {
            **taken,
            "texts_per_s": len(counted.read) / seconds,
            "tokens_per_s": int(counted.read.sum()) / seconds,
            **{f"times {peer}": found[peer][clock] / seconds for peer in PEERS},
            **cosines(made[name], made[PEERS[0]]),
        }
        if precision != "static":
            rows[name]["of_gemm_rate"] = work / seconds / gemm.get(precision, gemm["float32"])
    return rows


def cosines(ours: Vectors, theirs: Vectors) -> dict[str, float]:
    """The least and the mean one; none where vectors are of another space."""
    if ours.shape != theirs.shape:
        return {}
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    found = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return {"least_cosine": float(found.min()), "mean_cosine": float(found.mean())}


def show(cores: int, gemm: Mapping[str, float], rows: Mapping[str, Mapping[str, Any]]) -> None:
    rate = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in gemm.items())
    print(
        f"\n{cores} core{'s'[: cores - 1]}; products in Gop/s: {rate}\n{'':>33} {'texts/s':>9} "
        f"{'tokens/s':>9} {'x torch':>8} {'x ONNX':>8} {'of GEMM':>8} {'real':>5} "
        f"{'least cosine':>13} {'mean':>10}"
    )
    for name, row in rows.items():
        ratios = [row[f"times {peer}"] for peer in PEERS]
        cosine = [row.get(f"{which}_cosine", float("nan")) for which in ("least", "mean")]
        print(
            f"{name:>33} {row['texts_per_s']:9,.0f} {row['tokens_per_s']:9,.0f} {ratios[0]:8.2f} "
            f"{ratios[1]:8.2f} {row.get('of_gemm_rate', float('nan')):8.2f} "
            f"{row.get('real', float('nan')):5.2f} {cosine[0]:13.7f} {cosine[1]:10.7f}"
        )
    told = ", ".join(f"{name} {aim:g}" for name, aim in AIMS.items())
    print(f"aims, times sentence-transformers in torch: {told}")


if __name__ == "__main__":
    main()
