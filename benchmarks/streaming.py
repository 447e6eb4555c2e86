"""One long sequence, token by token: Aaren beside a K/V-cached Transformer and a GRU of its width.

    python -m benchmarks.streaming [--steps N] [--quick] [--plot FILE]

All three are stacks of the same blocks in plain torch on one thread, with random weights; they take
turns after every hundred tokens. Counted are seconds so far and bytes of state: of the Transformer
all that its cache has allocated, which doubles when it is full.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import keep
from benchmarks.stepping.plot import plot
from benchmarks.stepping.sequence import PAPER, SERVED, run

MIXERS = ("aaren", "transformer", "gru")
STEPS, CHUNK = 5000, 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS, help="a multiple of 100")
    parser.add_argument("--quick", action="store_true", help="1,000 steps; nothing is kept")
    parser.add_argument("--plot", type=Path, help="draw both curves into this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps = 1000 if args.quick else args.steps
    found = {shape.name: run(shape, MIXERS, steps, CHUNK) for shape in (SERVED, PAPER)}
    for name, sides in found.items():
        show(name, sides)
    if args.plot:
        plot(args.plot, found, CHUNK)
    if not args.quick:
        settings = {"steps": steps, "every": CHUNK, "threads": 1, "load": os.getloadavg()}
        keep("streaming", {"settings": settings, "sequence": found})


def show(name: str, sides: Mapping[str, Mapping[str, Any]]) -> None:
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


if __name__ == "__main__":
    main()
