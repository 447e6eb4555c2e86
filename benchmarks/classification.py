"""Series of four archives' sets classified as they come: Aaren beside a Transformer and a GRU.

    python -m benchmarks.classification [--seeds N] [--steps N] [--sets NAME ...]
        [--mixers M ...] [--runs DIR]

The streaming classifier of models/aaren, with the mixer of its layers exchanged and all else equal:
width, layers, heads, MLP, loss, steps, schedule and seeds; the recipe was fixed beforehand and is
the same for every set. Official training and test parts; accuracy after a test series' last
observation, mean and deviation over seeds. Beside them the archives' usual baselines, one nearest
neighbour by Euclid's distance and by dynamic time warping on values as they are. A run that was
stopped is resumed, one that ended is read. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import SHARED, keep
from benchmarks.series import neighbours, ts
from benchmarks.series.mixers import MIXERS, factory
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.sequences import Sequences, SequenceTask, classifier
from foretoken.models.aaren.train import Preset
from foretoken.models.layers.mixers.aaren import geometric
from foretoken.models.training import Recipe, train

DATA = SHARED / "series"
RUNS = Path(__file__).resolve().parents[1] / "runs" / "classification"
SETS = ("JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint")
SEEDS, STEPS, BATCH = 3, 400, 32
SHAPE = AarenConfig(width=64, layers=2, heads=4, mlp=128, decay=geometric(4))


def recipe(steps: int, seed: int) -> Recipe:
    return Recipe(steps=steps, lr=1e-3, warmup=0.1, weight_decay=0.01, log_every=20, seed=seed)


def main() -> None:
    args = arguments()
    if not DATA.is_dir():
        print("skipped: classification needs ../shared/data, which is not here")
        return
    torch.set_num_threads(1)
    runs, baselines = [], {}
    for name in args.sets:
        parts = ts.load(DATA, name)
        baselines[name] = nearest(*parts)
        for mixer in args.mixers:
            for seed in range(args.seeds):
                runs.append(trained(name, parts, mixer, recipe(args.steps, seed), args.runs))
                print(f"{name}, {mixer}, seed {seed}: {runs[-1]['accuracy']:.3f}", flush=True)
    found = {"baselines": baselines, "models": summary(runs)}
    show(found)
    if args.steps == STEPS and args.seeds >= SEEDS and set(args.sets) == set(SETS):
        settings = {"config": asdict(SHAPE), "recipe": asdict(recipe(STEPS, 0)), "batch": BATCH}
        keep("classification", {"settings": settings, **found, "runs": runs})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=list(MIXERS[:3]))
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the trained models")
    return parser.parse_args()


def nearest(train_part: ts.Labelled, test_part: ts.Labelled) -> dict[str, float]:
    """Accuracy of the nearest neighbour, by distance."""
    return {
        name: neighbours.accuracy(distance(test_part, train_part), train_part, test_part)
        for name, distance in (("1-NN", neighbours.euclid), ("1-NN DTW", neighbours.warping))
    }


def trained(
    name: str, parts: tuple[ts.Labelled, ts.Labelled], mixer: str, how: Recipe, runs: Path
) -> dict[str, Any]:
    """One model, trained or read, and its accuracy on the test part."""
    learned, held_out = map(sequences, parts)
    preset = Preset(classifier(SHAPE, learned), how, BATCH)
    made = factory(mixer, SHAPE.width, SHAPE.heads)
    task = SequenceTask(preset, learned, held_out, mixer=made)
    folder = runs / f"{name}-{mixer.replace(' ', '-')}-{how.steps}-{how.seed}"
    result = train(task, how, folder, progress=lambda _done, _row: None)
    return {
        "set": name,
        "mixer": mixer,
        "seed": how.seed,
        "parameters": sum(p.numel() for p in task.module.parameters()),
        "minutes": round(result.minutes, 2),
        **result.figures,
    }


def sequences(part: ts.Labelled) -> Sequences:
    """Observations [T, D] of each series, and its class."""
    values = [x[:n].astype(np.float64) for x, n in zip(part.values, part.length, strict=True)]
    return values, [part.classes[i] for i in part.label]


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and deviation of the accuracy over seeds, by set and mixer."""
    groups: dict[tuple[str, str], list[float]] = {}
    for each in runs:
        groups.setdefault((each["set"], each["mixer"]), []).append(each["accuracy"])
    return [
        {"set": name, "mixer": mixer, "accuracy": float(np.mean(a)), "std": float(np.std(a))}
        for (name, mixer), a in groups.items()
    ]


def show(found: Mapping[str, Any]) -> None:
    mixers = list(dict.fromkeys(row["mixer"] for row in found["models"]))
    print(f"\n{'':18}" + "".join(f"{title:>20}" for title in (*mixers, "1-NN", "1-NN DTW")))
    for name, baseline in found["baselines"].items():
        rows = {row["mixer"]: row for row in found["models"] if row["set"] == name}
        cells = [f"{rows[m]['accuracy']:.3f} +- {rows[m]['std']:.3f}" for m in mixers]
        cells += [f"{value:.3f}" for value in baseline.values()]
        print(f"{name:18}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
