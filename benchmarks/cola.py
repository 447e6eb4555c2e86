"""What depth adaptation buys, on the bundled models' held-out problems, beside its controls.

    python -m benchmarks.cola [--model FOLDER ...] [--simulations N] [--quick] [--plot FILE]

For each model: levels are chosen of which it answers 30 to 70 % on average as it was trained, and
none always, never, or by guessing; then chains are searched, with the right answer as the label,
for 300 problems that it answers wrong and 150 that it answers right. Counted are wrong ones for
which a chain answers right, and right ones for which a shorter chain does. Beside that: as many
different random chains of one to three edits; the same search for the answer of another problem of
the level, which says how often an answer is found that is not there to be known; and menus of
chains that are chosen on half of the problems and measured on the other half: any of K right, the
answer that most agree on, a chooser, the best chain alone. A search uses the answer: its shares are
bounds, not what a server attains without a verifier.

All of it goes through a plane, which batches layers over chains; models run side by side, each in a
process with one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import keep
from benchmarks.depth.arm import Amounts, measured
from benchmarks.depth.plot import plot
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.depth.requests import SearchOptions

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "cola.png"
AIMS = {"shortened": 0.75, "corrected": 0.6}  # what the paper claims, and more
QUICK = Amounts(wrong=30, right=20, shuffled=15, menu=40, candidates=20, sizes=(1, 10))
TOGETHER = 4  # chains of one search that are tried at a time


def main() -> None:
    args = arguments()
    folders = args.model or [bundled()["cola"], bundled()["cola-loops"]]
    names = [named(folder) for folder in folders]
    if len(set(names)) < len(names):
        raise SystemExit(f"folders need names of their own, not {', '.join(names)}")
    options = SearchOptions(
        simulations=args.simulations,
        exploration=args.exploration,
        length_penalty=args.penalty,
        random_child=args.random_child,
        together=TOGETHER,
    )
    amounts = QUICK if args.quick else Amounts()
    began = time.monotonic()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(folders), os.cpu_count() or 1), spawn) as pool:
        runs = [
            pool.submit(measured, folder, name, amounts, options, args.seed)
            for folder, name in zip(folders, names, strict=True)
        ]
        found = {name: run.result() for name, run in zip(names, runs, strict=True)}
    for name, each in found.items():
        show(name, each)
    if args.plot:
        plot(args.plot, found)
    if not args.quick:
        minutes = (time.monotonic() - began) / 60
        keep(
            args.keep, {"minutes": minutes, "load": os.getloadavg(), "aims": AIMS, "models": found}
        )


def named(folder: Path) -> str:
    """What a model is called here: its own name, or that of its folder, or of the run around it."""
    folder = folder.resolve()
    name = Artefact.read(folder).training.get("name")
    return name or (folder.parent.name if folder.name == "artefact" else folder.name)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, nargs="+", help="artefact folders; default: bundled")
    parser.add_argument("--simulations", type=int, default=200, help="chains of a search")
    parser.add_argument("--exploration", type=float, default=SearchOptions.exploration)
    parser.add_argument("--penalty", type=float, default=SearchOptions.length_penalty)
    parser.add_argument("--random-child", type=float, default=SearchOptions.random_child)
    parser.add_argument("--seed", type=int, default=0, help="of problems, chains and searches")
    parser.add_argument("--quick", action="store_true", help="a tenth of it; not kept")
    parser.add_argument("--keep", default="cola", help="name of the result")
    parser.add_argument("--plot", type=Path, default=PICTURE, help="draw into this file")
    return parser.parse_args()


def show(name: str, found: dict[str, Any]) -> None:
    corrected, shortened = found["corrected"], found["shortened"]
    print(f"\n{name}: {found['problems']['plain']:.1%} of {found['problems']['drawn']} right")
    print(f"{'':24}{'search':>10}{'random':>10}{'shuffled':>10}")
    for title, each in (("wrong, corrected", corrected), ("right, shortened", shortened)):
        cells = [each[s]["share"] if s in each else None for s in ("search", "random", "shuffled")]
        print(f"{title:24}" + "".join(f"{'' if c is None else f'{c:.1%}':>10}" for c in cells))
    for level, own in corrected["search"]["levels"].items():
        cells = [
            own,
            corrected["random"]["levels"][level],
            corrected["shuffled"]["levels"].get(level),
        ]
        said = "".join(f"{'' if c is None else format(c['share'], '.1%'):>10}" for c in cells)
        print(f"  {level:22}{said}  of {own['of']}")
    print(f"layers saved, of right ones: {shortened['layers_saved']:.2f}")
    menus = found["menus"]
    print(f"menus, on {menus['held_out']} problems that they were not chosen on")
    print(f"{'K':>6}{'plain':>10}{'first':>10}{'any':>10}{'agreed':>10}{'chooser':>10}")
    for K, each in menus["sizes"].items():
        cells = [each[n] for n in ("plain", "single", "any", "agreement", "chooser")]
        print(f"{K:>6}" + "".join(f"{'' if c is None else format(c, '.1%'):>10}" for c in cells))
    print(
        f"{found['chains_tried']:,} chains, {found['chains_per_s']:.0f}/s, "
        f"{found['requests_per_turn']:.1f} requests in a turn"
    )


if __name__ == "__main__":
    main()
