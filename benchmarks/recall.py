"""Associative recall (MQAR) by DeltaNet, beside Aaren, a GRU and a Transformer of equal width.

    python -m benchmarks.recall [--train] [--sequences N] [--runs DIR]

DeltaNet is the model in the box. The others are the same language model with another mixer in its
layers, trained by the recipe and on the lessons that the model in the box says it was trained by;
they lie in runs/recall-<name>. ``--train`` trains what is missing there, or goes on with what was
stopped (one core, minutes to hours); without it nothing is trained, and what is missing is told.

All are asked for the same held-out sequences, of a seed that no training uses: N of each number of
pairs, every pair asked for once. In another game, which nobody was trained for, all keys come again
with another value before they are asked for, and the later one is right. The state is what one
sequence needs between two tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.common import keep
from benchmarks.series.mixers import factory
from foretoken.exporters.modules import load_module
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.deltanet import FAMILY
from foretoken.models.deltanet.model import LanguageModel
from foretoken.models.deltanet.recall import NONE, recall
from foretoken.models.deltanet.train import Lessons, RecallTask, accuracy
from foretoken.models.training import Recipe, train
from foretoken.server.publish import quantised

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "recall.png"
SEED = 3_000_017
LONGER = (1, 2, 4)  # times the trained length, with the most pairs
BATCH = 32  # sequences that are read at once
OURS = "DeltaNet"
COLOURS = {OURS: "#c2410c", "Transformer": "#0ea5e9", "GRU": "#22c55e", "Aaren": "#64748b"}
HEADS = {"Transformer": 2, "GRU": 1, "Aaren": 4}  # a GRU has none
Model = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train", action="store_true", help="train what is missing")
    parser.add_argument("--sequences", type=int, default=256, help="of each number of pairs")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--model", type=Path, help="artefact; default: the one in the box")
    args = parser.parse_args()
    torch.set_num_threads(1)
    artefact = Artefact.read(args.model or bundled()[FAMILY.name])
    lessons = Lessons(**artefact.training["lessons"])
    sides = dict(models(artefact, lessons, args.runs, train_missing=args.train))
    rows = {name: row(module, lessons, args.sequences) for name, module in sides.items()}
    if artefact.export:
        rows[OURS] |= {"int8": int8(artefact, lessons, args.sequences)}
    show(rows, lessons)
    plot(PICTURE, rows, lessons)
    said = {"lessons": asdict(lessons), "recipe": artefact.training["recipe"]}
    keep("recall", {**said, "sequences": args.sequences, "seed": SEED, "models": rows})


def models(
    artefact: Artefact, lessons: Lessons, runs: Path, *, train_missing: bool
) -> Iterator[tuple[str, LanguageModel]]:
    """Every side by name, in evaluation mode, trained."""
    ours = load_module(artefact, FAMILY)
    assert isinstance(ours, LanguageModel)
    yield OURS, ours
    said = artefact.training["recipe"]
    recipe = Recipe(**{**said, "betas": tuple(said["betas"])})
    config = artefact.config
    for name, heads in HEADS.items():
        folder = runs / f"recall-{name.lower()}"
        if not train_missing and not (folder / "checkpoint.json").is_file():
            raise SystemExit(f"{folder} holds no trained {name}; run with --train")
        torch.manual_seed(recipe.seed)
        sizes = [config[size] for size in ("vocab", "width", "layers", "mlp")]
        module = LanguageModel(*sizes, factory(name.lower(), config["width"], heads))
        task = RecallTask(module, {**config, "mixer": name, "heads": heads}, lessons, recipe.seed)
        if train_missing:
            print(f"{name}: training in {folder}, or reading it", flush=True)
        result = train(task, recipe, folder)
        module.load_state_dict(result.parameters, strict=False)
        yield name, module.eval()


def row(module: LanguageModel, lessons: Lessons, sequences: int) -> dict[str, Any]:
    """The figures of one side."""
    length, most = lessons.length, lessons.measured()[-1]
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "state_bytes": state_bytes(module, length),
        "state_grows": state_bytes(module, 2 * length) > state_bytes(module, length),
        "accuracy": measured(module, lessons, sequences),
        "longer": {
            str(n * length): asked(module, sequences // n, n * length, most, lessons.vocab)
            for n in LONGER
        },
        "replaced": {
            str(P): replaced(module, sequences, P, lessons.vocab)
            for P in lessons.measured()
            if length >= 5 * P
        },
    }


def state_bytes(module: LanguageModel, tokens: int) -> int:
    """Of one sequence after some tokens; an axis of 0 grows by 1 with each."""
    blocks = module.stack.blocks
    shapes = [s for block in blocks for s in block.mixer.shapes().values()]
    return sum(4 * prod(size or tokens for size in shape) for shape in shapes if shape)


def measured(module: Model, lessons: Lessons, sequences: int) -> dict[str, float]:
    """Accuracy by pairs, in sequences of the length that was trained on."""
    return {
        str(P): asked(module, sequences, lessons.length, P, lessons.vocab)
        for P in lessons.measured()
    }


@torch.no_grad()
def asked(module: Model, sequences: int, T: int, P: int, vocab: int) -> float:
    """Accuracy on sequences that depend on the sizes alone."""
    generator = torch.Generator().manual_seed(SEED + P)
    tokens, answers = recall(sequences, T, P, vocab, generator)
    parts = zip(tokens.split(BATCH), answers.split(BATCH), strict=True)
    return float(np.mean([accuracy(module, *part) for part in parts]))


@torch.no_grad()
def replaced(module: Model, sequences: int, P: int, vocab: int) -> float:
    """The share of later values that are said, of P keys that all had another one before."""
    generator = torch.Generator().manual_seed(SEED - P)
    half = vocab // 2
    order = [torch.rand(sequences, n, generator=generator).argsort(1) for n in (half - 1, half)]
    keys, values = 1 + order[0][:, :P], half + order[1][:, : 2 * P]
    pairs = [torch.stack([keys, v], dim=2).flatten(1) for v in values.split(P, dim=1)]
    tokens = torch.cat([*pairs, keys], dim=1)
    answers = torch.full_like(tokens, NONE)
    answers[:, -P:] = values[:, P:]
    return accuracy(module, tokens, answers)


def int8(artefact: Artefact, lessons: Lessons, sequences: int) -> dict[str, Any]:
    """Accuracy of the int8 child beside float32, both in ONNX Runtime, and the child's bytes."""

    def metric(run: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]) -> dict[str, float]:
        start = FAMILY.predictor(artefact.config, {}).start()

        def model(tokens: Tensor, where: Tensor) -> Tensor:
            B, T = tokens.shape
            state = {name: np.repeat(array, B, axis=0) for name, array in start.items()}
            inputs = {"x": tokens[..., None].numpy(), "length": np.full(B, T, np.int64)}
            return torch.from_numpy(run("scan", {**inputs, **state})["logits"])[where]

        return measured(model, lessons, sequences)

    with TemporaryDirectory() as folder:
        child = quantised(artefact, Path(folder) / "int8", FAMILY, metric)
        size = sum(path.stat().st_size for path in child.files.values())
    return {**child.training["quantised"], "bytes": size}


def show(rows: Mapping[str, Any], lessons: Lessons) -> None:
    pairs = lessons.measured()
    lengths = [n * lessons.length for n in LONGER[1:]]
    titles = [*(f"{P} pairs" for P in pairs), *(f"in {T:,}" for T in lengths)]
    titles += ["state", "parameters"]
    print(f"\n{'':16}" + "".join(f"{title:>12}" for title in titles))
    for name, row in rows.items():
        cells = [f"{100 * row['accuracy'][str(P)]:.1f} %" for P in pairs]
        cells += [f"{100 * row['longer'][str(T)]:.1f} %" for T in lengths]
        cells.append(f"{row['state_bytes']:,}" + ("+" if row["state_grows"] else " "))
        print(f"{name:16}" + "".join(f"{c:>12}" for c in (*cells, f"{row['parameters']:,}")))
    for name, row in rows.items():
        shares = ", ".join(f"{P}: {100 * share:.1f} %" for P, share in row["replaced"].items())
        print(f"{name}, of keys with a second value: {shares}")
    print(
        f"{lessons.length} tokens; longer: {pairs[-1]} pairs; state in bytes, + grows with tokens"
    )


def plot(path: Path, rows: Mapping[str, Any], lessons: Lessons) -> None:
    """Draw accuracy over pairs and over tokens, a line for each side."""
    figure = Figure(figsize=(8, 3.4), dpi=150, layout="constrained")
    by_pairs, by_length = figure.subplots(1, 2, sharey=True)
    for name, row in reversed(rows.items()):
        kept = f"{row['state_bytes'] / 1024:.1f} KiB" + (", growing" if row["state_grows"] else "")
        ours = name == OURS
        style = {"color": COLOURS[name], "ms": 4 if ours else 8, "zorder": 3 if ours else 2}
        for axes, figures in ((by_pairs, row["accuracy"]), (by_length, row["longer"])):
            shares = [100 * share for share in figures.values()]
            axes.plot([int(x) for x in figures], shares, "o-", label=f"{name}: {kept}", **style)
            axes.set_xscale("log", base=2)
            axes.set_xticks([int(x) for x in figures], list(figures))
            axes.spines[["top", "right"]].set_visible(False)
    by_pairs.set_xlabel(f"pairs in {lessons.length} tokens")
    by_length.set_xlabel(
        f"tokens with {lessons.measured()[-1]} pairs; trained up to {lessons.length}"
    )
    by_pairs.set_ylabel("values recalled, %")
    by_pairs.set_ylim(-3, 104)
    by_pairs.legend(frameon=False, fontsize=8, title="state of a sequence", title_fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()
