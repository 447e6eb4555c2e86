"""Train Aaren on synthetic series or one's own: ``python -m foretoken.models.aaren.train --help``.

Letters: B series, T steps, H horizon.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.forecaster import Forecaster
from foretoken.models.aaren.forecasting import figures, loss
from foretoken.models.aaren.prior import sample
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.layers.mixers import Mixer, MixerFactory
from foretoken.models.layers.mixers.aaren import Aaren, geometric
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress, train

__all__ = ["PRESETS", "PriorTask", "Preset", "aaren", "train_prior"]

SHAPES = ((2, 256), (1, 512), (1, 640))  # of batches: times as many series, steps
EVERY = 4  # one forecast is learned from for every so many steps: neighbours are much alike
HELD_OUT = (192, 320, 500)  # steps after which held-out series are forecast


@dataclass(frozen=True)
class Preset:
    """A size and how to train it.

    Args:
        config: the model's shape.
        recipe: how and how long.
        batch: series per step, of 512 values.
    """

    config: AarenConfig
    recipe: Recipe
    batch: int


PRESETS = {
    "nano": Preset(
        AarenConfig(width=32, layers=2, heads=4, mlp=64, window=96, horizon=24),
        Recipe(max_minutes=5, lr=3e-3, precision="bf16", fp32_tail=0.1, log_every=20),
        batch=8,
    ),
    "small": Preset(
        AarenConfig(decay=geometric(8)),
        Recipe(
            max_minutes=80,
            lr=2e-3,
            weight_decay=0.01,
            precision="bf16",
            fp32_tail=0.08,
            log_every=50,
        ),
        batch=16,
    ),
    "base": Preset(
        AarenConfig(width=256, layers=6, heads=8, mlp=1024, decay=geometric(8)),
        Recipe(max_minutes=60, lr=1e-3, weight_decay=0.01, precision="bf16", fp32_tail=0.05),
        batch=256,
    ),
}


def aaren(config: AarenConfig) -> MixerFactory:
    """The mixers of a model of that shape."""

    def mixer(layer: int) -> Mixer:
        del layer  # all are alike
        return Aaren(config.width, config.heads, config.decay)

    return mixer


class PriorTask:
    """Forecasting of synthetic series (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes.
        device: where batches are made.
        mixer: of the model's layers; the default is Aaren.
    """

    module: nn.Module

    def __init__(
        self,
        preset: Preset,
        device: torch.device | str = "cpu",
        mixer: MixerFactory | None = None,
    ) -> None:
        c, seed = preset.config, preset.recipe.seed
        self.preset, self.device = preset, torch.device(device)
        held_out = sample(128, HELD_OUT[-1] + 1 + c.horizon, torch.Generator().manual_seed(seed + 1))
        self.held_out = held_out.to(self.device)
        torch.manual_seed(seed)
        self.module = Forecaster(c, mixer or aaren(c)).to(self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        return {"config": asdict(self.preset.config), "batch": self.preset.batch}

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """Series [B, T + H], steps to forecast after, H."""
        del step
        device, horizon = generator.device, self.preset.config.horizon
        which = int(torch.randint(len(SHAPES), (), generator=generator, device=device))
        times, T = SHAPES[which]
        y = sample(times * self.preset.batch, T + horizon, generator)
        at = torch.randperm(T, generator=generator, device=device)[: T // EVERY]
        return y, at.sort().values, torch.tensor(horizon)

    def loss(self, module: Callable[..., Any], batch: tuple[Tensor, ...]) -> Tensor:
        """Pinball, see ``forecasting.loss``."""
        return loss(module, batch, self.preset.config.levels)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """See ``forecasting.figures``."""
        c = self.preset.config
        at = torch.tensor(HELD_OUT, device=self.device)
        return figures(module, self.held_out, at, c.horizon, c.levels, season=24)


def train_prior(
    preset: Preset | str,
    *,
    out: Path | str,
    seed: int | None = None,
    minutes: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
    mixer: MixerFactory | None = None,
) -> TrainResult:
    """Train a forecaster on synthetic series, or resume, and write ``<out>/artefact``."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InvalidInput(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    if seed is not None:
        preset = replace(preset, recipe=replace(preset.recipe, seed=seed))
    if minutes is not None:
        preset = replace(preset, recipe=replace(preset.recipe, max_minutes=minutes))
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    task = PriorTask(preset, device, mixer)
    result = train(task, preset.recipe, out, device=device, progress=progress or print_progress)
    report = {
        "data": "synthetic series from the prior of models/aaren/prior; no measured one was used",
        "recipe": asdict(preset.recipe),
        "batch": preset.batch,
        "steps": result.steps,
        "minutes": round(result.minutes, 2),
        "parameters": sum(p.numel() for p in task.module.parameters()),
        "held_out": result.figures,
    }
    folder = Path(out) / "artefact"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / WEIGHTS, save(result.parameters))
    Artefact("aaren", asdict(preset.config), {}, training=report).write(folder)
    return result


def main(argv: list[str] | None = None) -> None:
    """The command line; every option not given comes from the preset."""
    parser = argparse.ArgumentParser(description="Train Aaren on synthetic series.")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; resumes it")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--minutes", type=float, help="wall-clock budget")
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    train_prior(args.preset, out=args.out, seed=args.seed, minutes=args.minutes)


if __name__ == "__main__":
    main()
