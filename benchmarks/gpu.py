"""Our GPU kernels beside torch's, their references, and a copy on the same device.

    python -m benchmarks.gpu [--rounds N]

Each row is one call: microseconds, the bytes that it has to move per second, that as a fraction of
a copy measured in the same run, and how many times as long others take: torch's own kernel, the
reference, the reference compiled by torch.compile, and flash-linear-attention where it is
installed. All have to give the same first. Without a CUDA device it says so and exits with 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks import gpu_decoding, gpu_recurrent
from benchmarks.common import keep
from benchmarks.gpu_recurrent import Case, short, size
from foretoken.kernels.context_attention import context_attention, reference

# B tables, H heads, K key/value heads, M rows that ask, N training rows, D width of a head.
Shape = tuple[int, int, int, int, int, int]
CONTEXTS: list[Shape] = [
    (1, 4, 4, 1, 1000, 128),
    (1, 4, 4, 100, 1000, 128),
    (32, 4, 4, 1, 1000, 128),
    (4, 6, 1, 1, 1000, 64),
    (4, 6, 1, 100, 10_000, 64),
    (1, 4, 4, 1, 100_000, 128),
]
OTHERS = ("torch", "reference", "compiled", "fla")
FLUSH = 1 << 28  # bytes: more than a cache holds
ALIKE = 0.02  # of the root of the mean square: what bfloat16 leaves of any order of sums


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("there is no CUDA device here, so there is nothing to measure", file=sys.stderr)
        return 1
    bandwidth = copy_rate(args.rounds)
    device = torch.cuda.get_device_name()
    print(f"{device}: a copy moves {bandwidth / 1e9:.0f} GB/s")
    print(f"{'':52} {'us':>9} {'GB/s':>7} {'of copy':>8}", *(f"{f'x {o}':>12}" for o in OTHERS))
    rows = []
    for case in everything():
        rows.append(measured(case, bandwidth, args.rounds))
        show(rows[-1])
    keep("gpu", {"device": device, "copy_gbytes_per_s": bandwidth / 1e9, "rows": rows})
    return 0


def everything() -> Iterator[Case]:
    for dtype in (torch.bfloat16, torch.float32):
        yield from (context(shape, dtype) for shape in CONTEXTS)
        yield from gpu_recurrent.cases(dtype)
        yield from gpu_decoding.cases(dtype)


def taken(call: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call that finds nothing of its inputs in the cache."""
    flush = torch.empty(FLUSH, dtype=torch.int8, device="cuda")
    call()
    times: list[float] = []
    event: Any = torch.cuda.Event
    for _ in range(rounds):
        begin, end = event(enable_timing=True), event(enable_timing=True)
        flush.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


def copy_rate(rounds: int) -> float:
    """Bytes read and written per second by a copy."""
    here = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    there = torch.empty_like(here)
    return 2 * here.nbytes / taken(lambda: there.copy_(here), rounds)


def context(shape: Shape, dtype: torch.dtype) -> Case:
    """Context attention of one shape."""
    B, H, K, M, N, D = shape
    # Scores of a spread of one: rounded to bfloat16 in between, larger ones say nothing for sure.
    q = (torch.randn(B, H, M, D, device="cuda") * D**-0.5).to(dtype)
    k, v = (torch.randn(B, K, N, D, device="cuda").to(dtype) for _ in range(2))
    n = torch.full((B,), N, device="cuda")
    return Case(
        "context_attention",
        f"B{B} H{H} K{K} M{M} N{N} D{D} {short(dtype)}",
        {
            "ours": lambda: context_attention(q, k, v, n),
            "torch": lambda: scaled_dot_product_attention(q, k, v, scale=1.0, enable_gqa=K < H),
            "reference": lambda: reference.context_attention(q, k, v, n),
        },
        moved=size(q, k, v, q),  # the output is as large as q
        reset=lambda: None,
    )


def measured(case: Case, limit: float, rounds: int) -> dict[str, Any]:
    """One row of the table."""
    with torch.inference_mode():
        expect_alike(case)
        seconds = {name: taken(side, rounds) for name, side in case.sides.items()}
    ours = seconds.pop("ours")
    return {
        "kernel": case.kernel,
        "shape": case.shape,
        "us": ours * 1e6,
        "gbytes_per_s": case.moved / ours / 1e9,
        "of_copy": case.moved / ours / limit,
        **{name: their / ours for name, their in seconds.items()},
    }


def expect_alike(case: Case) -> None:
    """Nobody is timed who computes something else."""
    made: dict[str, Tensor] = {}
    for name, side in case.sides.items():
        case.reset()
        made[name] = side().double()
    for name, their in made.items():
        error = (their - made["ours"]).square().mean().sqrt() / their.square().mean().sqrt()
        if not error <= ALIKE:
            raise SystemExit(f"{case.kernel} {case.shape}: {name} and ours differ by {error:.2g}")


def show(row: dict[str, Any]) -> None:
    others = (f"{row[name]:12.2f}" if name in row else f"{'-':>12}" for name in OTHERS)
    print(
        f"{row['kernel']:18}{row['shape']:34} {row['us']:9.1f} {row['gbytes_per_s']:7.0f} "
        f"{row['of_copy']:8.2f}",
        *others,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
