"""Our GPU kernels beside torch's, their references, and a copy on the same device.

    python -m benchmarks.gpu [--rounds N]

Each row is one call: microseconds, the bytes that it has to move per second, that as a fraction of
a copy measured in the same run, and how many times as long torch and the reference take. Without a
CUDA device it says so and exits with 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.common import keep
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
FLUSH = 1 << 28  # bytes: more than a cache holds


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
    rows = [context_row(shape, dtype, bandwidth, args.rounds) for dtype, shape in cases()]
    show(rows)
    keep("gpu", {"device": device, "copy_gbytes_per_s": bandwidth / 1e9, "rows": rows})
    return 0


def cases() -> list[tuple[torch.dtype, Shape]]:
    return [(dtype, shape) for dtype in (torch.bfloat16, torch.float32) for shape in CONTEXTS]


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


def context_row(shape: Shape, dtype: torch.dtype, limit: float, rounds: int) -> dict[str, Any]:
    """Context attention of one shape."""
    B, H, K, M, N, D = shape
    q = torch.randn(B, H, M, D, device="cuda").to(dtype)
    k, v = (torch.randn(B, K, N, D, device="cuda").to(dtype) for _ in range(2))
    n = torch.full((B,), N, device="cuda")
    sides: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: context_attention(q, k, v, n),
        "torch": lambda: scaled_dot_product_attention(q, k, v, scale=1.0, enable_gqa=K < H),
        "reference": lambda: reference.context_attention(q, k, v, n),
    }
    with torch.inference_mode():
        seconds = {name: taken(side, rounds) for name, side in sides.items()}
    moved = sum(t.nbytes for t in (q, k, v, q))  # the output is as large as q
    return {
        "kernel": "context_attention",
        "shape": f"B{B} H{H} K{K} M{M} N{N} D{D} {str(dtype).removeprefix('torch.')}",
        "us": seconds["ours"] * 1e6,
        "gbytes_per_s": moved / seconds["ours"] / 1e9,
        "of_copy": moved / seconds["ours"] / limit,
        "torch": seconds["torch"] / seconds["ours"],
        "reference": seconds["reference"] / seconds["ours"],
    }


def show(rows: list[dict[str, Any]]) -> None:
    print(f"{'':48} {'us':>9} {'GB/s':>7} {'of copy':>8} {'x torch':>8} {'x reference':>12}")
    for r in rows:
        print(
            f"{r['kernel']:18}{r['shape']:30} {r['us']:9.1f} {r['gbytes_per_s']:7.0f} "
            f"{r['of_copy']:8.2f} {r['torch']:8.2f} {r['reference']:12.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
