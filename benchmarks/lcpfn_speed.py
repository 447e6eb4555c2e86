"""LC-PFN's forward pass in ONNX Runtime beside plain torch, and beside the machine's GEMM rate.

    python -m benchmarks.lcpfn_speed [--threads N] [--rounds N]

50 points of a curve are seen and 50 asked for. Sides run in turn in one process, at the paper's
size and at the shipped one, for one curve and for a hundred. A hundred curves go through the engine
in batches of at most ``BUDGET`` tokens; torch takes them both ways and its better time counts. The
GEMM rate is that of ONNX Runtime on the model's own products, at the number of rows where it is
highest. Processor time stands beside wall-clock time: on a shared machine only the former is the
program's own, and the ratios of one thread are taken from it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from benchmarks.common import gemm, keep
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import bundled, family
from foretoken.models.contract import Arrays, Call, Config, Graph, Predictor, Steps
from foretoken.models.lcpfn.model import LCPFNConfig
from foretoken.models.lcpfn.train import PRESETS
from foretoken.models.tasks import CurveRequest
from foretoken.server.engine.drive import Run, alone
from foretoken.server.publish import publish, quantised
from foretoken.server.runtimes.base import Executable
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime

SEEN, ASKED, MANY = 50, 50, 100
BUDGET = 1024  # tokens in a batch: ten curves, whose activations stay in the cache
LCPFN = family("lcpfn")
Side = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    result: dict[str, Any] = {"threads": args.threads, "seen": SEEN, "asked": ASKED}
    with tempfile.TemporaryDirectory() as scratch:
        for size, source in sizes(Path(scratch)).items():
            print(f"\n{size}: {source.config}")
            artefacts = prepared(source, Path(scratch) / f"{size}-out")
            result[size] = measured(artefacts, args.threads, args.rounds)
            show(result[size])
    result["load"] = os.getloadavg()
    keep("lcpfn_speed", result)


def sizes(scratch: Path) -> dict[str, Artefact]:
    """The paper's size with random weights, and the shipped model, or its size if none is there."""
    paper = random_artefact(LCPFNConfig(), scratch / "paper")
    folder = bundled().get("lcpfn")
    if folder is not None:
        return {"paper": paper, "shipped": Artefact.read(folder)}
    return {"paper": paper, "nano": random_artefact(PRESETS["nano"].config, scratch / "nano")}


def random_artefact(config: LCPFNConfig, folder: Path) -> Artefact:
    torch.manual_seed(0)
    module = LCPFN.module(asdict(config))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    folder.mkdir()
    save_file(module.state_dict(), folder / WEIGHTS)
    return Artefact("lcpfn", asdict(config), {WEIGHTS: folder / WEIGHTS})


def prepared(source: Artefact, out: Path) -> dict[str, Artefact]:
    """The artefact in float32, bfloat16 and int8, by precision."""
    full = source if source.export else publish(source, out / "float32")
    return {
        "float32": full,
        "bfloat16": replace(full, precision="bfloat16"),
        "int8": quantised(full, out / "int8"),
    }


def measured(artefacts: Mapping[str, Artefact], threads: int, rounds: int) -> dict[str, Any]:
    """All figures of one size."""
    full, small = artefacts["float32"], artefacts["int8"]
    onnx, plain = OnnxRuntime(), TorchRuntime("cpu")
    loaded: dict[str, Executable] = {
        "torch float32": plain.load(full, LCPFN, threads),
        "torch bfloat16": plain.load(artefacts["bfloat16"], LCPFN, threads),
        "onnx float32": onnx.load(full, LCPFN, threads),
        "onnx int8": onnx.load(small, LCPFN, threads),
    }
    graphs = {graph.name: graph for graph in LCPFN.graphs(full.config)}
    one, many = example(1), example(MANY)
    single = timed({n: partial(e.run, "forward", one) for n, e in loaded.items()}, rounds)
    engine = {n: partial(batched, e.run, graphs, many) for n, e in loaded.items()}
    at_once = {n: partial(e.run, "forward", many) for n, e in loaded.items() if "torch" in n}
    hundred = timed(engine, max(3, rounds // 3))
    for name, taken in timed(at_once, max(3, rounds // 3)).items():
        hundred[name] = min(hundred[name], taken)
    predictor = LCPFN.predictor(full.config, load_file(full.files[WEIGHTS]))
    answers = partial(answered, predictor, loaded["onnx float32"].run, graphs)
    return {
        "config": dict(full.config),
        "gflop_per_curve": forward_flops(full.config) / 1e9,
        "gemm_gflops": (rate := gemm_rate(full.config, threads)) / 1e9,
        "one": rows(single, forward_flops(full.config), rate, 1, threads),
        "hundred": rows(hundred, forward_flops(full.config), rate, MANY, threads),
        "answered_curves_per_s": MANY / clock(timed({"": answers}, 3)[""], threads),
        "bytes": {n: a.files[WEIGHTS].stat().st_size for n, a in artefacts.items()},
        "largest_difference": full.export["forward"]["parity"]["largest"],
        "int8_rms_loss": small.export["forward"]["loss"]["rms"],
    }


class Taken(NamedTuple):
    """Median seconds of a call; the processor's come first, since they are what is compared."""

    cpu: float
    wall: float


def clock(taken: Taken, threads: int) -> float:
    """The seconds that ratios are taken from."""
    return taken.cpu if threads == 1 else taken.wall


def timed(sides: Mapping[str, Side], rounds: int) -> dict[str, Taken]:
    """Time the sides in turn, so that drift hits all alike."""
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            side()
            taken[name].append(Taken(time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: Taken(*(statistics.median(column) for column in zip(*each[1:], strict=True)))
        for name, each in taken.items()
    }


def example(curves: int) -> dict[str, np.ndarray[Any, Any]]:
    steps = np.arange(1, SEEN + ASKED + 1, dtype=np.float32)
    values = np.sort(np.random.default_rng(0).random((curves, SEEN), np.float32), axis=1)
    return {
        "steps": np.tile(steps[:SEEN], (curves, 1)),
        "values": values,
        "n": np.full(curves, SEEN, np.int64),
        "at": np.tile(steps[SEEN:], (curves, 1)),
    }


def batched(run: Run, graphs: Mapping[str, Graph], inputs: Arrays) -> list[Any]:
    """Curves that come one by one, merged by the engine."""

    def curve(i: int) -> Steps:
        (outputs,) = yield [Call("forward", {k: v[i : i + 1] for k, v in inputs.items()})]
        return outputs["logits"]

    return alone([curve(i) for i in range(MANY)], graphs, run, BUDGET)


def answered(predictor: Predictor, run: Run, graphs: Mapping[str, Graph]) -> list[Any]:
    """Requests to replies: as ``batched``, with units, quantiles and all."""
    inputs, levels = example(MANY), np.array([0.05, 0.5, 0.95])
    steps, at = inputs["steps"][0].astype(float), inputs["at"][0].astype(float)
    requests = [CurveRequest(v.astype(float), steps, at, levels) for v in inputs["values"]]
    replies = alone([predictor.predict(r) for r in requests], graphs, run, BUDGET)
    return [(reply.mean, reply.quantiles) for reply in replies]


def products(config: Config) -> list[tuple[int, int, int]]:
    """(how many, inner, columns) of the matrices that a token goes through."""
    W, M, L, K = config["width"], config["mlp"], config["layers"], config["bars"]
    each = [(L, W, 3 * W), (L, W, W), (L, W, M), (L, M, W)]
    return [*each, (1, W, M), (1, M, K)]  # the last two see queries only, which is ignored here


def forward_flops(config: Config) -> float:
    """Floating-point operations of one curve: matrices of all tokens, attention, and the head."""
    W, M, L, K = config["width"], config["mlp"], config["layers"], config["bars"]
    tokens = SEEN + ASKED
    body = tokens * L * (2 * 4 * W * W + 2 * 2 * W * M)
    attention = L * tokens * (SEEN + 1) * 2 * 2 * W
    return float(body + attention + ASKED * 2 * (W * M + M * K))


def gemm_rate(config: Config, threads: int) -> float:
    """Operations per second of the model's products in ONNX Runtime, at the best number of rows."""
    rates = []
    for curves in (1, 5, 10, 50):
        total, seconds = 0.0, 0.0
        for count, inner, columns in products(config):
            call, flops = gemm(curves * (SEEN + ASKED), inner, columns, threads)
            taken = timed({"": call}, 15)[""]
            total += count * flops
            seconds += count * clock(taken, threads)
        rates.append(total / seconds)
    return max(rates)


def rows(
    taken: Mapping[str, Taken], flops: float, rate: float, curves: int, threads: int
) -> dict[str, dict[str, float]]:
    """A row per side: milliseconds, operations per second, and shares."""
    chosen = {name: clock(t, threads) for name, t in taken.items()}
    return {
        name: {
            "wall_ms": t.wall * 1e3,
            "cpu_ms": t.cpu * 1e3,
            "gflops": curves * flops / chosen[name] / 1e9,
            "of_gemm_rate": curves * flops / chosen[name] / rate,
            "times_torch": chosen["torch float32"] / chosen[name],
        }
        for name, t in taken.items()
    }


def show(size: Mapping[str, Any]) -> None:
    print(
        f"{size['gflop_per_curve']:.2f} GFLOP a curve; GEMM {size['gemm_gflops']:.0f} GFLOP/s; "
        f"{size['answered_curves_per_s']:.0f} curves/s from request to reply"
    )
    for count in ("one", "hundred"):
        print(f"{count:>8} {'wall ms':>10} {'cpu ms':>10} {'of GEMM':>8} {'x torch':>8}")
        for name, row in size[count].items():
            print(
                f"{name:>16} {row['wall_ms']:10.2f} {row['cpu_ms']:10.2f} "
                f"{row['of_gemm_rate']:8.2f} {row['times_torch']:8.2f}"
            )


if __name__ == "__main__":
    main()
