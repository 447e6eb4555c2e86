"""Train on problems of many difficulties: ``python -m foretoken.models.cola.train --help``.

One step draws problems of every kind; the loss is the mean negative log-likelihood of the tokens
of their answers. In the arm "loops" half of the steps run an edited chain of layers in place of the
whole one, so that layers learn to be left out and repeated; in the arm "plain" none does.

Letters: N tokens of a step, V tokens of the vocabulary.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola.model import ColaModel
from foretoken.models.cola.packed import Packed
from foretoken.models.cola.presets import ARMS, PRESETS, Preset
from foretoken.models.cola.tasks import NONE, Problems, held_out_problems
from foretoken.models.cola.vocabulary import EOS, VOCABULARY
from foretoken.models.depth.chains import Chain, edited, full
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress, train

__all__ = ["ProblemTask", "initialised", "right", "train_cola"]

HELD_OUT = 1 << 20  # tells the seed of held-out problems from that of batches
MEASURED = 128  # held-out problems of each difficulty
LARGEST = 16 << 20  # bytes of weights in float32; of larger ones bfloat16 is kept


class ProblemTask:
    """The task that the training loop runs (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes.
        arm: of ``ARMS``.
        seed: of the initial weights, the chains and the held-out problems.
        device: where batches are made.
    """

    module: nn.Module

    def __init__(
        self, preset: Preset, arm: str, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.preset, self.arm, self.seed = preset, arm, seed
        self.device = torch.device(device)
        self.module = initialised(ColaModel(preset.config), seed).to(self.device)
        self.packed = Packed(tuple((p.rows, p.maker.length) for p in preset.parts))
        generator = torch.Generator(self.device).manual_seed(seed ^ HELD_OUT)
        self.held_out = {
            name: held_out_problems(level, MEASURED, part.maker.length, generator)
            for part in preset.parts
            for name, level in part.maker.levels()
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        p = self.preset
        return {
            "config": asdict(p.config),
            "arm": self.arm,
            "edits": p.edits,
            "stretch": p.stretch,
            "parts": {
                type(part.maker).__name__: {"rows": part.rows, **asdict(part.maker)}  # type: ignore[call-overload]
                for part in p.parts
            },
        }

    def chain(self, step: int) -> Chain:
        """The chain of a step: of the seed and the step alone."""
        rng = random.Random(f"{self.seed}:{step}")
        whole = full(self.preset.config.shape.layers)
        if rng.random() >= ARMS[self.arm]:
            return whole
        longest = round(self.preset.stretch * len(whole))
        return edited(whole, rng.randint(1, self.preset.edits), longest, rng)

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """(ids int64 [N], targets int64 [N], the chain int64 on the CPU)."""
        drawn = [p.maker.draw(p.rows, p.maker.length, generator) for p in self.preset.parts]
        ids = torch.cat([each.ids.flatten() for each in drawn])
        targets = torch.cat([each.targets(held=False).flatten() for each in drawn])
        return ids, targets, torch.tensor(self.chain(step))

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Mean negative log-likelihood of the answers' tokens, nats."""
        ids, targets, chain = batch
        logits = module(ids, chain.tolist(), self.packed)
        return cross_entropy(logits.float(), targets, ignore_index=NONE)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Shares of held-out problems answered right, by difficulty and over all of them."""
        with torch.compiler.set_stance("force_eager"):  # of many shapes, each asked for once
            figures = {name: float(right(module, p).mean()) for name, p in self.held_out.items()}
        return {"accuracy": sum(figures.values()) / len(figures), **figures}

    def warm(self, precision: str, *, compiled: bool) -> None:
        """Run a step that changes nothing, so that what is slow once takes none of the budget."""
        if compiled:
            for block in self.module.blocks:  # type: ignore[union-attr]
                block.compile()  # a block's graph serves all of them, in chains of any order
        batch = self.batch(torch.Generator(self.device).manual_seed(0), 0)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = self.loss(self.module, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.module.zero_grad(set_to_none=True)


def right(module: Callable[..., Tensor], problems: Problems) -> Tensor:
    """Which problems are answered right to the last token, float32 [n].

    The likeliest token after each right one is the right one if, and only if, greedy decoding
    gives the whole answer: one pass says both.

    Args:
        module: (ids int64 [n, L]) -> logits [n, L, V].
        problems: all held out.
    """
    targets = problems.targets(held=True)
    said: Tensor = module(problems.ids).argmax(-1)
    return ((said == targets) | (targets == NONE)).all(dim=1).float()


def initialised(model: ColaModel, seed: int) -> ColaModel:
    """The model with weights to start from, and the tokenizer of the problems.

    Weights are normal, by the width; those that end a branch start small.
    """
    generator = torch.Generator().manual_seed(seed)
    small = (2 * model.config.shape.layers) ** -0.5
    for name, weights in model.named_parameters():
        if name.endswith(".bias"):
            nn.init.zeros_(weights)
        if weights.ndim < 2:
            continue
        branch = name.endswith((".out.weight", ".down.weight"))
        std = model.config.shape.width**-0.5 if name == "words.weight" else weights.shape[1] ** -0.5
        with torch.no_grad():
            weights.normal_(0.0, std * (small if branch else 1.0), generator=generator)
    if model.config.tokenizer:
        kept = torch.frombuffer(bytearray(VOCABULARY.tokenizer_json()), dtype=torch.uint8)
        model.tokenizer.json.copy_(kept)
    return model


def train_cola(
    preset: str | Preset,
    *,
    out: Path | str,
    arm: str = "plain",
    seed: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    compiled: bool = False,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train in ``out``, or resume the run there; ``out/artefact`` is then ready to be registered.

    Weights are stored in float32, and in bfloat16 where that would be more than 16 MiB; the
    held-out figures are those of the stored ones.

    Args:
        preset: a name in ``PRESETS``, or a preset of one's own.
        out: folder of the run: log, checkpoint and, at the end, the artefact.
        arm: "plain", or "loops": trained with layers skipped and repeated.
        seed: in the place of the preset's.
        minutes: of wall-clock time, in the place of the preset's bound; the schedule ends there.
        steps: likewise, of the optimiser.
        compiled: whether blocks run through torch.compile.
        device: default: a GPU where there is one.
        progress: default: a line per logged step.

    Raises:
        InvalidInput: unknown preset or arm.
        FailedPrecondition, DataLoss, KeyboardInterrupt: as ``foretoken.models.training.train``.
    """
    chosen = _chosen(preset, arm)
    recipe = _bounded(chosen.recipe, seed, minutes, steps)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    task = ProblemTask(chosen, arm, recipe.seed, where)
    task.warm(recipe.precision, compiled=compiled)
    result = train(task, recipe, out, device=where, progress=progress or print_progress)
    if result.finished:
        _write_artefact(
            Path(out), preset if isinstance(preset, str) else "custom", task, recipe, result
        )
    return result


def _chosen(preset: str | Preset, arm: str) -> Preset:
    if isinstance(preset, str) and preset not in PRESETS:
        raise InvalidInput(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    if arm not in ARMS:
        raise InvalidInput(f"no arm {arm!r}; there are {', '.join(ARMS)}")
    return PRESETS[preset] if isinstance(preset, str) else preset


def _bounded(recipe: Recipe, seed: int | None, minutes: float | None, steps: int | None) -> Recipe:
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    if minutes is not None or steps is not None:
        recipe = replace(recipe, max_minutes=minutes, steps=steps)
    return recipe


def _write_artefact(
    out: Path, name: str, task: ProblemTask, recipe: Recipe, result: TrainResult
) -> None:
    module = task.module
    tensors = {k: result.parameters[k] for k, _ in module.named_parameters()}
    buffers = {k: v.cpu() for k, v in module.state_dict().items() if k not in tensors}
    stored = torch.float32
    if sum(4 * v.numel() for v in tensors.values()) > LARGEST:
        stored = torch.bfloat16
    tensors = {k: v.to(stored).contiguous() for k, v in tensors.items()}
    with torch.no_grad():
        module.load_state_dict({k: v.float() for k, v in tensors.items()} | buffers)
        figures = task.evaluate(module.eval())
    folder = out / "artefact"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / WEIGHTS, save(tensors | buffers))
    report = {
        "data": "sums, chains of operations modulo a prime and hops along pairs, drawn here",
        "preset": name,
        "recipe": asdict(recipe),
        "settings": task.settings,
        "stored": str(stored).removeprefix("torch."),
        "seed": recipe.seed,
        "steps": result.steps,
        "tokens": result.steps * task.packed.tokens,
        "minutes": round(result.minutes, 2),
        "parameters": sum(v.numel() for v in tensors.values()),
        "held_out": figures,
    }
    config = {
        **asdict(task.preset.config),
        "generation": {"ends": [EOS], "sample": False},
        "chat": None,
    }
    Artefact("cola", config, {}, training=report).write(folder)


def main(argv: list[str] | None = None) -> None:
    """The command line; every option not given comes from the preset."""
    parser = argparse.ArgumentParser(description="Train CoLa on problems of many difficulties.")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="small")
    parser.add_argument("--arm", choices=sorted(ARMS), default="plain")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; resumes it")
    parser.add_argument("--minutes", type=float, help="wall-clock budget")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--compile", action="store_true", help="run blocks through torch.compile")
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    result = train_cola(
        args.preset,
        out=args.out,
        arm=args.arm,
        seed=args.seed,
        minutes=args.minutes,
        steps=args.steps,
        compiled=args.compile,
        device=args.device,
    )
    for name, share in result.figures.items():
        print(f"{name:12} {share:6.1%}")  # noqa: T201


if __name__ == "__main__":
    main()
