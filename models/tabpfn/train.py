"""Train TabPFN on tables from the prior: ``python -m foretoken.models.tabpfn.train --help``.

One step draws data sets of one shape, looks at all of them in one of the ways that members of an
ensemble do, and asks for the classes of their test rows; the loss is the cross-entropy (Hollmann et
al. 2022, section 3). Rows and columns grow with the run: small tables teach the same at a fraction
of the price, as long as the last ones are as large as those that are served.

Letters: B data sets of a step, N training rows, M test rows, F columns.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.tabpfn.encoding import TREES
from foretoken.models.tabpfn.forests import forest_scores
from foretoken.models.tabpfn.model import TabPFN, TabPFNConfig
from foretoken.models.tabpfn.prior import sample
from foretoken.models.tabpfn.views import COLUMNS, SCORES, View, see
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress, train

__all__ = ["PRESETS", "Preset", "TableTask", "train_tabpfn"]

ABSENT = -1e4  # logit of a class that a table has not


@dataclass(frozen=True)
class Preset:
    """A size and how to train it.

    Args:
        config: the model's shape.
        recipe: how and how long.
        tokens: rows of a step, over all its data sets.
        rows: most training rows of a data set, at first and from the end of the growth on.
        columns: most columns, likewise.
        growth: steps over which both grow.
        looks: ways in which a step looks at each of its tables: drawing them takes its time, too.
        trees: of the forests that score rows; fewer than are served take less time.
    """

    config: TabPFNConfig
    recipe: Recipe
    tokens: int
    rows: tuple[int, int] = (256, 1024)
    columns: tuple[int, int] = (30, 100)
    growth: int = 2500
    looks: int = 1
    trees: int = TREES


def _config(width: int, layers: int, heads: int, shared: int | None = 1) -> TabPFNConfig:
    return TabPFNConfig(
        width, layers, heads, 2 * width, features=SCORES + COLUMNS, norm_first=True, shared=shared
    )


PRESETS = {
    "nano": Preset(  # two CPU cores, two hours
        _config(256, 6, 4),
        Recipe(max_minutes=110, lr=1e-3, precision="bf16", weight_decay=0.01, log_every=50),
        tokens=6144,
        looks=2,
        trees=24,
    ),
    "base": Preset(  # half an hour on one large GPU
        _config(384, 8, 6),
        Recipe(max_minutes=30, lr=8e-4, precision="bf16", weight_decay=0.01, log_every=50),
        tokens=131_072,
        rows=(512, 1024),
        growth=1000,
        looks=2,
        trees=64,
    ),
    "paper": Preset(  # 18,000 steps of 512 data sets at the published size
        _config(512, 12, 4, shared=None),
        Recipe(steps=18_000, lr=1e-4, warmup=0.1, precision="bf16", ema=0.0),
        tokens=512 * 1024,
        rows=(1024, 1024),
        growth=1,
    ),
}


class TableTask:
    """The task that the training loop runs (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes.
        seed: of the initial weights and the held-out tables.
        device: where batches are made.
    """

    module: nn.Module

    def __init__(self, preset: Preset, seed: int, device: torch.device | str) -> None:
        self.preset, self.device = preset, torch.device(device)
        torch.manual_seed(seed)
        self.module = Classifier(TabPFN(preset.config)).to(self.device)
        generator = torch.Generator(self.device).manual_seed(seed + 1)
        shapes = ((16, 64, 6), (16, 256, 20), (8, 512, 60), (4, 1000, 100))
        self.held_out = {
            f"{N}x{F}": self._draw(generator, B, N, 128, F, (View(),)) for B, N, F in shapes
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        p = self.preset
        return {
            "config": asdict(p.config),
            "tokens": p.tokens,
            "rows": list(p.rows),
            "columns": list(p.columns),
            "growth": p.growth,
            "looks": p.looks,
            "trees": p.trees,
        }

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """(x [B, N + M, F], y [B, N + M], absent [B, classes], N)."""
        rng = random.Random(int(torch.randint(2**62, (), generator=generator, device=self.device)))
        p, grown = self.preset, min(1.0, step / self.preset.growth)
        N = _spread(rng, 24, p.rows[0] + grown * (p.rows[1] - p.rows[0]))
        F = _spread(rng, 2, p.columns[0] + grown * (p.columns[1] - p.columns[0]))
        M = max(32, N // 3)
        views = tuple(
            View(rng.random() < 0.6, rng.random() < 0.7, rng.randrange(10)) for _ in range(p.looks)
        )
        B = max(1, p.tokens // ((N + M) * p.looks))
        return self._draw(generator, B, N, M, F, views)

    def _draw(
        self, generator: torch.Generator, B: int, N: int, M: int, F: int, views: Sequence[View]
    ) -> tuple[Tensor, ...]:
        tables = sample(B, N + M, F, train_rows=N, device=self.device, generator=generator)

        def chance(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        given, C = (tables.x, tables.y, tables.categorical), self.preset.config.classes
        known = tables.y[:, :N]
        forest = forest_scores(tables.x, tables.categorical, known, C, chance, self.preset.trees)
        seen = [see(*given, N, view, forest) for view in views]
        widest = max(x.shape[2] for x, _ in seen)
        x = torch.cat([pad(x, (0, widest - x.shape[2])) for x, _ in seen])
        absent = torch.arange(C, device=self.device) >= tables.classes[:, None]
        return x, torch.cat([y for _, y in seen]), absent.repeat(len(seen), 1), torch.tensor(N)

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Mean cross-entropy of the test rows, nats."""
        x, y, absent, N = batch
        logits = module(x, y, int(N)).float().masked_fill(absent[:, None], ABSENT)
        return cross_entropy(logits.flatten(0, 1), y[:, int(N) :].flatten())

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Cross-entropy on held-out tables of several shapes, in bfloat16 as trained."""
        with torch.autocast(self.device.type, torch.bfloat16):
            losses = {f"nll_{k}": float(self.loss(module, b)) for k, b in self.held_out.items()}
        return {**losses, "nll": sum(losses.values()) / len(losses)}


class Classifier(nn.Module):
    """Both graphs in one pass, for training: every table's training rows first, then test rows."""

    def __init__(self, network: TabPFN) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, y: Tensor, N: int) -> Tensor:
        """Logits [B, M, C] of the rows after the first N of x [B, N + M, F], y [B, N + M]."""
        state = self.network.encode_context(x[:, :N], y[:, :N], None)
        return self.network.query(x[:, N:], None, *state)


def _spread(rng: random.Random, low: int, high: float) -> int:
    """A whole number from low to high, as likely in each octave."""
    return round(low * math.exp(math.log(high / low) * rng.random()))


def train_tabpfn(
    preset: str | Preset = "nano",
    *,
    out: Path,
    seed: int = 0,
    minutes: float | None = None,
    steps: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train TabPFN and write an artefact; calling it again on ``out`` resumes.

    Args:
        preset: "nano" (two CPU cores, two hours), "base" (a GPU, half an hour), "paper", or one
            of the caller's own.
        out: folder of the log, checkpoint and, once the run has finished, ``artefact``.
        seed: of weights and tables.
        minutes: replaces the preset's wall-clock budget.
        steps: replaces the preset's number of optimiser steps.
        device: "cpu" or "cuda"; the default is "cuda" where there is one.
        progress: called at each logged step; prints a line by default.

    Raises:
        InvalidInput: an unknown preset.
        Unsupported: the device cannot be used here.
        FailedPrecondition: the run diverged, or ``out`` belongs to another run.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        raise InvalidInput(f"no preset {preset!r}; choose one of {', '.join(PRESETS)}")
    name = preset if isinstance(preset, str) else "custom"
    chosen = PRESETS[preset] if isinstance(preset, str) else preset
    recipe = replace(chosen.recipe, seed=seed)
    if minutes is not None or steps is not None:
        recipe = replace(recipe, max_minutes=minutes, steps=steps)
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        task = TableTask(chosen, seed, where)
    except (RuntimeError, AssertionError) as e:  # torch raises either, by how it was built
        raise Unsupported(f"cannot train on device {where!r}: {e}") from e
    result = train(task, recipe, out, device=where, progress=progress or print_progress)
    if result.finished:
        _write_artefact(out, name, task, recipe, result)
    return result


def _write_artefact(
    out: Path, name: str, task: TableTask, recipe: Recipe, result: TrainResult
) -> None:
    tensors = {k.removeprefix("network."): v for k, v in result.parameters.items()}
    tensors = {k: v.to(torch.bfloat16).contiguous() for k, v in tensors.items()}
    folder = out / "artefact"
    folder.mkdir(exist_ok=True)
    artefact = Artefact(
        family="tabpfn",
        config=cast("dict[str, Any]", task.settings["config"]),
        precision="float32",
        training={
            "data": "synthetic tables from the prior; no measured table was used",
            "preset": name,
            "recipe": asdict(recipe),
            "settings": {**task.settings, "device": str(task.device)},
            "steps": result.steps,
            "minutes": round(result.minutes, 1),
            "figures": result.figures,
        },
        files={},
    )
    write_atomically(folder / WEIGHTS, save(tensors))
    artefact.write(folder)  # last: a folder with an artefact.json is whole


def main() -> None:
    """Command line of a training run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="nano", choices=sorted(PRESETS))
    parser.add_argument("--out", type=Path, default=Path("runs/tabpfn"), help="folder of the run")
    parser.add_argument("--minutes", type=float, help="wall-clock budget; replaces the preset's")
    parser.add_argument("--steps", type=int, help="optimiser steps; replaces the preset's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads; the default is torch's")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    result = train_tabpfn(
        args.preset,
        out=args.out,
        seed=args.seed,
        minutes=args.minutes,
        steps=args.steps,
        device=args.device,
    )
    if not result.finished:
        print(f"interrupted after {result.steps} steps; the same command goes on from there")  # noqa: T201


if __name__ == "__main__":
    main()
