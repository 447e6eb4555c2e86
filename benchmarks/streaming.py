"""What a step costs: of one long sequence, beside its peers, and of thousands, beside the limits.

    python -m benchmarks.streaming [--part sequence|batched] [--steps N] [--rounds N] [--quick]
        [--plot FILE]

"sequence": Aaren beside a K/V-cached Transformer and a GRU, stacks of the same blocks and width in
plain torch, with random weights; they take turns after every hundred tokens. Counted are seconds so
far and bytes of state: of the Transformer all that its cache has allocated, which doubles when it
is full. "batched": aaren-forecast's network, and one with blocks of the paper's size, with random
weights, step 1 to 4,096 sequences at once: in one batch of plain torch, in the engine's slots
around ONNX Runtime, and as sessions of a plane, one message and one reply each; beside what the
products alone and the bytes alone would take, measured in the same run. All on one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import keep
from benchmarks.stepping.batched import PAPER as PAPER_MODEL
from benchmarks.stepping.batched import ROWS, SIZES, compared
from benchmarks.stepping.batched import SERVED as SERVED_MODEL
from benchmarks.stepping.plot import plot
from benchmarks.stepping.sequence import PAPER, SERVED, run

MIXERS = ("aaren", "transformer", "gru")
STEPS, CHUNK, ROUNDS = 5000, 100, 9
AIM = 0.5  # of the tighter bound, at the largest size


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    result: dict[str, Any] = {}
    if args.part != "batched":
        steps = 1000 if args.quick else args.steps
        found = {shape.name: run(shape, MIXERS, steps, CHUNK) for shape in (SERVED, PAPER)}
        for name, sides in found.items():
            show_sequence(name, sides)
        if args.plot:
            plot(args.plot, found, CHUNK)
        result["sequence"] = {"steps": steps, "every": CHUNK, "shapes": found}
    if args.part != "sequence":
        rounds = 3 if args.quick else args.rounds
        result["batched"] = {"aim": AIM, "rows_of_a_batch": ROWS}
        for name, config in {"aaren-forecast": SERVED_MODEL, "width 512": PAPER_MODEL}.items():
            with tempfile.TemporaryDirectory() as scratch:
                result["batched"][name] = compared(config, SIZES, rounds, Path(scratch))
            show_batched(name, result["batched"][name])
    if args.part is None and not args.quick:
        keep("streaming", {"threads": 1, "load": os.getloadavg(), **result})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", choices=("sequence", "batched"), help="one alone; not kept")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a sequence; in hundreds")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of batched steps")
    parser.add_argument("--quick", action="store_true", help="less of both; not kept")
    parser.add_argument("--plot", type=Path, help="draw the sequences' costs into this file")
    return parser.parse_args()


def show_sequence(name: str, sides: Mapping[str, Mapping[str, Any]]) -> None:
    ours = sides["aaren"]
    print(f"\n{name}: {len(ours['cumulative_s']) * CHUNK} tokens")
    head = ("parameters", "us first", "us last", "last/first", "s in all", "x aaren", "state KiB")
    print(f"{'':12}" + "".join(f"{title:>12}" for title in head))
    for mixer, each in sides.items():
        total = each["cumulative_s"][-1]
        print(
            f"{mixer:12}{each['parameters']:12,}{each['step_us_first']:12.0f}"
            f"{each['step_us_last']:12.0f}{each['last_over_first']:12.2f}{total:12.2f}"
            f"{total / ours['cumulative_s'][-1]:12.2f}{each['state_bytes'][-1] / 1024:12.1f}"
        )


def show_batched(model: str, found: Mapping[str, Any]) -> None:
    print(f"\n{model}: steps/s, and of the tighter bound; copies run {found['copy_gb_s']:.1f} GB/s")
    names = ("torch", "slots", "sessions")
    head = (*names, "GEMM bound", "byte bound")
    print(f"{'sequences':>10}" + "".join(f"{title:>18}" for title in head))
    for B, row in found["sizes"].items():
        print(f"{B:10}", end="")
        for name in names:
            print(f"{row['steps_per_s'][name]:12,.0f} {row['of_tighter_bound'][name]:5.2f}", end="")
        print("".join(f"{rate:18,.0f}" for rate in row["bound_steps_per_s"].values()))
    largest, reached = max(found["sizes"]), found["sizes"][max(found["sizes"])]
    print(f"{reached['of_tighter_bound']['slots']:.2f} at {largest:,} sequences; the aim is {AIM}")


if __name__ == "__main__":
    main()
