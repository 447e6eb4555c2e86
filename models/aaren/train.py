"""Train Aaren on synthetic series or one's own: ``foretoken train aaren``.

Letters: B series, T steps, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from foretoken.errors import InvalidInput
from foretoken.models import training
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.forecasting import figures, loss
from foretoken.models.aaren.model import build
from foretoken.models.aaren.prior import sample
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.layers.mixers import MixerFactory
from foretoken.models.layers.mixers.aaren import geometric
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress

__all__ = ["PRESETS", "Preset", "PriorTask", "preset_of", "run", "train"]

SHAPES = ((2, 256), (1, 512), (1, 640))  # of batches: times as many series, steps
EVERY = 4  # one forecast is learned from for every so many steps: neighbours are much alike
HELD_OUT = (192, 320, 500)  # steps after which held-out series are forecast


@dataclass(frozen=True)
class Preset:
    """A size and how to train it.

    Args:
        config: the model's shape.
        recipe: how and how long.
        batch: series per step.
    """

    config: AarenConfig
    recipe: Recipe
    batch: int


_BF16 = Recipe(max_minutes=1, weight_decay=0.01, precision="bf16", fp32_tail=0.1)
PRESETS = {
    "nano": Preset(
        AarenConfig(width=32, layers=2, heads=4, mlp=64, window=96, horizon=24, decay=geometric(4)),
        replace(_BF16, max_minutes=5, lr=3e-3, log_every=20),
        batch=8,
    ),
    "small": Preset(
        AarenConfig(decay=geometric(8)),
        replace(_BF16, max_minutes=84, lr=2e-3, fp32_tail=0.08),
        batch=16,
    ),
    "base": Preset(
        AarenConfig(width=256, layers=6, mlp=1024, decay=geometric(8)),
        replace(_BF16, max_minutes=60, lr=1e-3),
        batch=256,
    ),
}


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
        generator = torch.Generator().manual_seed(seed + 1)
        self.held_out = sample(128, HELD_OUT[-1] + 1 + c.horizon, generator).to(self.device)
        torch.manual_seed(seed)
        self.module = build(c, mixer).to(self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        return {"config": asdict(self.preset.config), "batch": self.preset.batch}

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """Series [B, T + H], and steps to forecast after."""
        del step
        device, horizon = generator.device, self.preset.config.horizon
        which = int(torch.randint(len(SHAPES), (), generator=generator, device=device))
        times, T = SHAPES[which]
        y = sample(times * self.preset.batch, T + horizon, generator)
        at = torch.randperm(T, generator=generator, device=device)[: T // EVERY]
        return y, at.sort().values

    def loss(self, module: Callable[..., Any], batch: tuple[Tensor, ...]) -> Tensor:
        """Pinball, see ``forecasting.loss``."""
        y, at = batch
        return loss(module, y, at, self.preset.config)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """See ``forecasting.figures``."""
        at = torch.tensor(HELD_OUT, device=self.device)
        return figures(module, self.held_out, at, self.preset.config, season=24)


def preset_of(name: str, options: Mapping[str, Any]) -> Preset:
    """A preset with the seed, minutes and horizon that ``options`` give.

    Raises:
        InvalidInput: unknown preset, or options out of range.
    """
    if name not in PRESETS:
        raise InvalidInput(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    preset = PRESETS[name]
    recipe = replace(preset.recipe, seed=options.get("seed", 0))
    if options.get("minutes"):
        recipe = replace(recipe, max_minutes=options["minutes"])
    config = preset.config
    if options.get("horizon"):
        config = replace(config, horizon=options["horizon"])
    return replace(preset, recipe=recipe, config=config)


def train(
    task: training.Task,
    config: AarenConfig,
    recipe: Recipe,
    data: str,
    *,
    out: Path | str,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> TrainResult:
    """Train, or resume the run in ``out``, and write ``<out>/artefact``.

    Args:
        task: of this package.
        config: of its module.
        recipe: how and how long.
        data: what it learns from, in words, for the artefact's record.
        out: folder of the run: log, checkpoint and, at the end, the artefact.
        device: of the task.
        progress: default: a line per logged step.

    Raises:
        FailedPrecondition, DataLoss, KeyboardInterrupt: as ``foretoken.models.training.train``.
    """
    result = training.train(task, recipe, out, device=device, progress=progress or print_progress)
    report = {
        "data": data,
        "recipe": asdict(recipe),
        "settings": {k: v for k, v in task.settings.items() if k != "config"},
        "steps": result.steps,
        "minutes": round(result.minutes, 2),
        "parameters": sum(p.numel() for p in task.module.parameters()),
        "held_out": result.figures,
    }
    folder = Path(out) / "artefact"
    folder.mkdir(exist_ok=True)
    kept = task.module.state_dict()  # what follows from the configuration is not
    weights = {name: t for name, t in result.parameters.items() if name in kept}
    write_atomically(folder / WEIGHTS, save(weights))
    Artefact("aaren", asdict(config), {}, training=report).write(folder)
    return result


def run(name: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None) -> None:
    """The family's recipe (see ``foretoken.models.recipes.Recipe``).

    Raises:
        InvalidInput: options that do not go together, or a file that cannot be learned from.
    """
    from foretoken.models.aaren import own  # noqa: PLC0415  (it needs what is defined here)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    preset = preset_of(name, options)
    if options["csv"]:
        own.run(preset, options, out, device, progress)
        return
    if given := [key for key in ("target", "series") if options[key]]:
        raise InvalidInput(f"{' and '.join(given)} without csv: which file has such a column?")
    if options["head"] != "forecaster":
        raise InvalidInput("a classifier is learned from sequences of one's own: give csv, target")
    data = "synthetic series from the prior of models/aaren/prior; no measured one was used"
    task = PriorTask(preset, device)
    train(task, preset.config, preset.recipe, data, out=out, device=device, progress=progress)
