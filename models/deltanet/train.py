"""Train on associative recall: ``python -m foretoken.models.deltanet.train --help``.

One step draws sequences with equally many pairs in equally many tokens (see ``recall.py``); the
loss is the mean negative log-likelihood of the values that are asked for (Arora et al. 2023,
Zoology, appendix E.1). Pairs are few at first: from 4 up to a limit that rises with the steps.

Letters: B sequences of a batch, T tokens, P pairs.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.deltanet.model import DeltaNetConfig, DeltaNetModel
from foretoken.models.deltanet.recall import NONE, recall
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress, train

__all__ = ["PRESETS", "Lessons", "Preset", "RecallTask", "accuracy", "train_deltanet"]

FEWEST = 4  # pairs of a sequence
STRIDE = 32  # lengths are multiples of it, as chunks of the delta rule are
HELD_OUT = 1 << 20  # tells the seed of held-out sequences from that of batches


@dataclass(frozen=True)
class Lessons:
    """What is recalled.

    Args:
        vocab: tokens that there are; half of them are values.
        pairs: the most pairs of a sequence, at least 4.
        length: the most tokens of a sequence, at least 3 times as many.
        tokens: of a batch, at least ``length``.
        start: steps with 4 pairs only.
        rise: steps after those until all numbers of pairs up to ``pairs`` are drawn alike.

    Raises:
        InvalidInput: these do not fit each other.
    """

    vocab: int = 256
    pairs: int = 64
    length: int = 256
    tokens: int = 4096
    start: int = 100
    rise: int = 900

    def __post_init__(self) -> None:
        fits = FEWEST <= self.pairs < self.vocab // 2 and 3 * self.pairs <= self.length
        if not (fits and self.length <= self.tokens and self.start >= 0 and self.rise >= 1):
            raise InvalidInput(
                f"{self} cannot be drawn: pairs must be at least {FEWEST}, below half of the "
                "vocabulary and at most a third of the length, and a batch hold one sequence"
            )

    def measured(self) -> list[int]:
        """Numbers of pairs at which accuracy is measured: doubled from 4 to ``pairs``."""
        return [FEWEST * 2**i for i in range((self.pairs // FEWEST).bit_length())]

    def most(self, step: int) -> int:
        """Pairs that a sequence has at most at this step."""
        risen = min(max(step - self.start, 0) / self.rise, 1.0)
        return round(FEWEST + risen * (self.pairs - FEWEST))


@dataclass(frozen=True)
class Preset:
    """A size and how to train it."""

    config: DeltaNetConfig
    recipe: Recipe
    lessons: Lessons


PRESETS = {
    "nano": Preset(  # five minutes on a CPU core
        DeltaNetConfig(),
        Recipe(steps=600, lr=2e-3),
        Lessons(pairs=16, length=128, start=100, rise=300),
    ),
    "small": Preset(  # half an hour on a CPU core
        DeltaNetConfig(),
        Recipe(steps=2000, lr=2e-3),
        Lessons(),
    ),
    "base": Preset(  # an hour on one large GPU
        DeltaNetConfig(vocab=4096, width=256, layers=4, heads=2, mlp=512),
        Recipe(steps=20_000, lr=1e-3, precision="bf16"),
        Lessons(vocab=4096, pairs=256, length=1024, tokens=65_536, start=1000, rise=9000),
    ),
}


class RecallTask:
    """The task that the training loop runs (see ``foretoken.models.training.Task``).

    Args:
        module: (tokens int64 [B, T], where bool [B, T]) -> logits [N, V] where it is true.
        shape: what the module is, in JSON's terms.
        lessons: what is recalled.
        seed: of the held-out sequences.
        device: where batches are made.
    """

    module: nn.Module

    def __init__(
        self,
        module: nn.Module,
        shape: dict[str, Any],
        lessons: Lessons,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.module, self.shape, self.lessons = module, shape, lessons
        self.seed, self.device = seed, torch.device(device)

    @property
    def settings(self) -> dict[str, Any]:
        """What shapes the run besides the recipe."""
        return {"shape": self.shape, **asdict(self.lessons)}

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """(tokens int64 [B, T], where bool [B, T], values int64 [N])."""
        given, most = self.lessons, self.lessons.most(step)
        rng = random.Random(int(torch.randint(2**62, (), generator=generator, device=self.device)))
        P = rng.randint(FEWEST, most)
        # Mostly short: what lies between is nearly all padding.
        T = 3 * P + (given.length - 3 * P) * rng.random() ** 3
        T = min(-(-int(T) // STRIDE) * STRIDE, given.length)
        tokens, answers = recall(given.tokens // T, T, P, given.vocab, generator)
        where = answers != NONE
        return tokens, where, answers[where]

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Mean negative log-likelihood of the values that are asked for."""
        tokens, where, values = batch
        return cross_entropy(module(tokens, where).float(), values)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Accuracy on held-out sequences of full length, by pairs."""
        generator = torch.Generator(self.device).manual_seed(self.seed ^ HELD_OUT)
        given, figures = self.lessons, {}
        for P in given.measured():
            drawn = recall(64, given.length, P, given.vocab, generator)
            figures[f"accuracy_{P}"] = accuracy(module, *drawn)
        return figures


def accuracy(module: Callable[..., Tensor], tokens: Tensor, answers: Tensor) -> float:
    """The share of values that are the likeliest token where they are asked for.

    Args:
        module: as of ``RecallTask``.
        tokens: int64 [B, T].
        answers: int64 [B, T], ``NONE`` where nothing is asked.
    """
    where = answers != NONE
    right = module(tokens, where).argmax(-1) == answers[where]
    return float(right.double().mean())


def train_deltanet(
    preset: str | Preset,
    *,
    out: Path | str,
    gated: bool | None = None,
    seed: int | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train in ``out``, or resume the run there; ``out/artefact`` is then ready to be registered.

    Args:
        preset: a name in ``PRESETS``, or a preset of one's own.
        out: folder of the run: log, checkpoint and, at the end, the artefact.
        gated: in the place of the preset's.
        seed: in the place of the preset's.
        device: default: a GPU where there is one.
        progress: default: a line per logged step.

    Raises:
        InvalidInput: unknown preset, or its lessons do not fit each other or the vocabulary.
        FailedPrecondition, DataLoss, KeyboardInterrupt: as ``foretoken.models.training.train``.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InvalidInput(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    if gated is not None:
        preset = replace(preset, config=replace(preset.config, gated=gated))
    if seed is not None:
        preset = replace(preset, recipe=replace(preset.recipe, seed=seed))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    lessons, recipe, shape = preset.lessons, preset.recipe, asdict(preset.config)
    if lessons.vocab != preset.config.vocab:
        raise InvalidInput(
            f"lessons have {lessons.vocab} tokens, the model {preset.config.vocab}; give both one"
        )
    torch.manual_seed(recipe.seed)
    module = DeltaNetModel(preset.config).to(device)
    task = RecallTask(module, shape, lessons, recipe.seed, device)
    result = train(task, recipe, out, device=device, progress=progress or print_progress)
    report = {
        "data": "associative recall (MQAR), drawn afresh at every step",
        "recipe": asdict(recipe),
        "lessons": asdict(lessons),
        "seed": recipe.seed,
        "steps": result.steps,
        "tokens": result.steps * lessons.tokens,
        "minutes": round(result.minutes, 2),
        "parameters": sum(p.numel() for p in module.parameters()),
        "held_out": result.figures,
    }
    folder = Path(out) / "artefact"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / WEIGHTS, save(result.parameters))
    Artefact("deltanet", shape, {}, training=report).write(folder)
    return result


def main(argv: list[str] | None = None) -> None:
    """The command line; every option not given comes from the preset."""
    parser = argparse.ArgumentParser(description="Train DeltaNet on associative recall.")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; resumes it")
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--gated", action="store_true", default=None)
    parser.add_argument("--heads", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    preset = PRESETS[args.preset]
    if args.steps:
        preset = replace(preset, recipe=replace(preset.recipe, steps=args.steps))
    if args.heads:
        preset = replace(preset, config=replace(preset.config, heads=args.heads))
    train_deltanet(preset, out=args.out, gated=args.gated, seed=args.seed, device=args.device)


if __name__ == "__main__":
    main()
