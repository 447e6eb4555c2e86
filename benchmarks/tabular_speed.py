"""TabPFN's forward pass at the first release's size, beside plain torch and the GEMM rate.

    python -m benchmarks.tabular_speed [--threads N] [--rounds N]

1,000 rows of 20 columns are seen and 100 rows asked for, by one member of an ensemble, with random
weights. The other side is a plain torch float32 encoder that takes all rows through all layers in
one pass under the attention mask of the paper (training rows and test rows attend to training
rows). Ours runs cold (``encode_context``, then ``query``) and on a cached context (``query``), in
ONNX Runtime and in torch bfloat16. Sides run in turn in one process; processor time stands beside
wall-clock time, and the ratios of one thread are taken from the former. The GEMM rates
are those of the model's own products, in ONNX Runtime's float32 and in torch's bfloat16; each side
is held against its own. A second table says how seconds and bytes of a context
grow with rows, columns and classes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.common import gemm, keep
from benchmarks.lcpfn_speed import Taken, clock, timed
from foretoken.exporters.onnx import export
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import family
from foretoken.models.contract import Arrays
from foretoken.models.tabpfn.model import TabPFN, TabPFNConfig
from foretoken.server.runtimes.base import Executable
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime

V1 = TabPFNConfig(512, 12, 4, 1024, norm_first=False, labels="linear", pipeline="v1")
SEEN, ASKED, COLUMNS = 1000, 100, 20
ROWS, FEATURES, CLASSES = (100, 300, 1000, 3000, 10_000), (5, 20, 100), (2, 10)
TEMPERATURE = 0.8  # that logits are divided by
TABPFN = family("tabpfn")
Side = Callable[[], Any]
Product = Callable[[int, int, int], tuple[Side, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        module, artefact = prepared(Path(scratch))
        plain = TorchRuntime("cpu")
        loaded: dict[str, Executable] = {
            "onnx float32": OnnxRuntime().load(artefact, TABPFN, args.threads),
            "torch bfloat16": plain.load(
                replace(artefact, precision="bfloat16"), TABPFN, args.threads
            ),
        }
        result = measured(module, loaded, args.threads, args.rounds)
        show(result)
        result["growth"] = growth(loaded["onnx float32"], args.threads)
        show_growth(result["growth"])
    result |= {"threads": args.threads, "config": asdict(V1), "load": os.getloadavg()}
    keep("tabular_speed", result)


def prepared(folder: Path) -> tuple[TabPFN, Artefact]:
    """A network of random weights, and the same as an exported artefact."""
    torch.manual_seed(0)
    module = TabPFN(V1).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    save_file(module.state_dict(), folder / WEIGHTS)
    artefact = Artefact("tabpfn", asdict(V1), {WEIGHTS: folder / WEIGHTS})
    return module, export(artefact, TABPFN, folder)


class Plain(nn.Module):
    """The same function of the same weights, from torch's own encoder layers."""

    def __init__(self, ours: TabPFN) -> None:
        super().__init__()
        c, self.ours = ours.config, ours
        layer = partial(
            nn.TransformerEncoderLayer, c.width, c.heads, c.mlp, 0.0, "gelu", batch_first=True
        )
        self.layers = nn.ModuleList(layer() for _ in range(c.layers))
        for mine, theirs in zip(self.layers, ours.blocks, strict=True):
            found = theirs.state_dict()
            mine.load_state_dict({theirs_to: found[name] for theirs_to, name in NAMES.items()})

    def forward(self, x: Tensor, y: Tensor, asked: Tensor) -> Tensor:
        """x [B, N, F], y [B, N] and asked [B, M, F] -> logits [B, M, C]."""
        N, T = x.shape[1], x.shape[1] + asked.shape[1]
        embed, classes = self.ours.embed_row, self.ours.embed_class
        every = torch.cat([x, asked], dim=1)
        h = nn.functional.linear(every, embed.weight[:, : x.shape[2]], embed.bias)
        h = torch.cat([h[:, :N] + classes(y.float()[..., None]), h[:, N:]], dim=1)
        mask = torch.zeros(T, T).masked_fill(torch.arange(T) >= N, -torch.inf)
        for layer in self.layers:
            h = layer(h, src_mask=mask)
        hidden = nn.functional.gelu(self.ours.head_in(h[:, N:]))
        logits: Tensor = self.ours.head_out(hidden)
        return logits


NAMES = {
    f"{theirs}.{kind}".replace("in_proj.", "in_proj_"): f"{ours}.{kind}"
    for theirs, ours in {
        "self_attn.in_proj": "qkv",
        "self_attn.out_proj": "out",
        "linear1": "mlp_in",
        "linear2": "mlp_out",
        "norm1": "norm_attention",
        "norm2": "norm_mlp",
    }.items()
    for kind in ("weight", "bias")
}


def table(rows: int, columns: int = COLUMNS, classes: int = 10) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((1, rows, columns), np.float32),
        "y": rng.integers(0, classes, (1, rows)),
        "n": np.full(1, rows, np.int64),
    }


def questions(rows: int = ASKED, columns: int = COLUMNS) -> dict[str, Any]:
    return {"x": np.random.default_rng(1).standard_normal((1, rows, columns), np.float32)}


def encoded(run: Executable, given: Arrays) -> dict[str, Any]:
    return {**run.run("encode_context", given), "n": given["n"]}


def answered(run: Executable, state: Arrays, asked: Arrays) -> Any:
    return run.run("query", {**state, **asked})["logits"]


def cold(run: Executable, given: Arrays, asked: Arrays) -> Any:
    return answered(run, encoded(run, given), asked)


def measured(
    module: TabPFN, loaded: Mapping[str, Executable], threads: int, rounds: int
) -> dict[str, Any]:
    """Seconds, rates and ratios of all sides, and how far apart their probabilities are."""
    given, asked = table(SEEN), questions()
    plain = Plain(module).eval()
    tensors = [torch.from_numpy(a) for a in (given["x"], given["y"], asked["x"])]

    def whole() -> Any:
        with torch.no_grad():
            return plain(*tensors).numpy()

    sides: dict[str, Side] = {"torch float32, one pass": whole}
    logits = {}
    for name, run in loaded.items():
        state = encoded(run, given)
        sides[f"{name}, cold"] = partial(cold, run, given, asked)
        sides[f"{name}, cached"] = partial(answered, run, state, asked)
        sides[f"{name}, cached, 1 row"] = partial(answered, run, state, questions(1))
        logits[name] = answered(run, state, asked)
    wanted = probabilities(whole())
    apart = {n: float(np.abs(probabilities(a) - wanted).max()) for n, a in logits.items()}
    rates = {
        "float32": gemm_rate(partial(gemm, threads=threads), threads),
        "bfloat16": gemm_rate(narrow, threads),
    }
    taken = timed(sides, rounds)
    return {
        "gflop": {"cold": flops(SEEN, ASKED) / 1e9, "cached": flops(0, ASKED, SEEN) / 1e9},
        "gemm_gflops": {precision: rate / 1e9 for precision, rate in rates.items()},
        "largest_difference": apart,
        "sides": {name: row(name, taken, rates, threads) for name in taken},
    }


def row(
    name: str, taken: Mapping[str, Taken], rates: Mapping[str, float], threads: int
) -> dict[str, float | None]:
    seconds, other = clock(taken[name], threads), clock(next(iter(taken.values())), threads)
    rate = rates["bfloat16" if "bfloat16" in name else "float32"]
    shape = (SEEN, ASKED) if "cached" not in name else (0, 1 if "1 row" in name else ASKED, SEEN)
    return {
        "wall_ms": taken[name].wall * 1e3,
        "cpu_ms": taken[name].cpu * 1e3,
        "gflops": flops(*shape) / seconds / 1e9,
        "of_gemm_rate": flops(*shape) / seconds / rate,
        "times_torch": other / seconds if shape[1] == ASKED else None,
    }


def probabilities(logits: Any) -> Any:
    raised = np.exp((logits - logits.max(-1, keepdims=True)) / TEMPERATURE)
    return raised / raised.sum(-1, keepdims=True)


def flops(encode: int, ask: int, seen: int | None = None) -> float:
    """Operations that are needed: none for what training rows become after the last attention."""
    W, M, L = V1.width, V1.mlp, V1.layers
    seen = encode if seen is None else seen
    block, keys = 2 * (2 * W * W + 2 * W * M), 2 * 2 * W * W  # of a row: q, out, MLP; k and v
    attention = 2 * 2 * W * seen
    training = encode * (L * keys + (L - 1) * (block + attention))
    return float(training + ask * (L * (block + attention) + 2 * W * M))


def gemm_rate(product: Product, threads: int) -> float:
    """Operations per second of the model's products."""
    W, M = V1.width, V1.mlp
    total, seconds = 0.0, 0.0
    for inner, columns in ((W, 3 * W), (W, W), (W, M), (M, W)):
        call, needed = product(SEEN, inner, columns)
        total, seconds = total + needed, seconds + clock(timed({"": call}, 15)[""], threads)
    return total / seconds


def narrow(rows: int, inner: int, columns: int) -> tuple[Side, float]:
    """As ``gemm``, in torch's bfloat16."""
    x = torch.randn(rows, inner, dtype=torch.bfloat16)
    weight = torch.randn(columns, inner, dtype=torch.bfloat16)

    def call() -> None:
        with torch.inference_mode():
            nn.functional.linear(x, weight)

    return call, 2.0 * rows * inner * columns


def growth(run: Executable, threads: int) -> list[dict[str, float]]:
    """Seconds and bytes of one member's context, as one of rows, columns and classes changes."""
    shapes = [(N, COLUMNS, 10) for N in ROWS]
    shapes += [(SEEN, F, 10) for F in FEATURES] + [(SEEN, COLUMNS, C) for C in CLASSES]
    found = []
    for N, F, C in dict.fromkeys(shapes):
        given, asked = table(N, F, C), questions(1, F)
        began = Taken(time.process_time(), time.perf_counter())
        state = encoded(run, given)
        once = Taken(time.process_time() - began.cpu, time.perf_counter() - began.wall)
        if N <= SEEN:  # what takes long needs no warm-up
            once = timed({"": partial(encoded, run, given)}, 3)[""]
        fit = clock(once, threads)
        ask = clock(timed({"": partial(answered, run, state, asked)}, 5)[""], threads)
        size = sum(array.nbytes for array in state.values())
        each = {"rows": N, "columns": F, "classes": C, "fit_ms": fit * 1e3, "row_ms": ask * 1e3}
        found.append({**each, "mib": size / 2**20})
    return found


def show(result: Mapping[str, Any]) -> None:
    gflop, rates = result["gflop"], result["gemm_gflops"]
    print(
        f"{gflop['cold']:.1f} GFLOP cold, {gflop['cached']:.1f} cached; GEMM "
        f"{rates['float32']:.0f} GFLOP/s in float32, {rates['bfloat16']:.0f} in bfloat16"
    )
    print(f"{'':32} {'wall ms':>9} {'cpu ms':>9} {'of GEMM':>8} {'x torch':>8}")
    for name, r in result["sides"].items():
        print(
            f"{name:>32} {r['wall_ms']:9.1f} {r['cpu_ms']:9.1f} {r['of_gemm_rate']:8.2f} "
            f"{'' if r['times_torch'] is None else format(r['times_torch'], '.2f'):>8}"
        )
    for name, apart in result["largest_difference"].items():
        print(f"{name}: probabilities within {apart:.1e} of torch float32")


def show_growth(rows: list[dict[str, float]]) -> None:
    print(f"\n{'rows':>8} {'columns':>8} {'classes':>8} {'fit ms':>9} {'a row ms':>9} {'MiB':>8}")
    for r in rows:
        print(
            f"{r['rows']:8} {r['columns']:8} {r['classes']:8} {r['fit_ms']:9.1f} "
            f"{r['row_ms']:9.2f} {r['mib']:8.1f}"
        )


if __name__ == "__main__":
    main()
