"""Train LC-PFN on curves from a prior: ``python -m foretoken.models.lcpfn.train --help``.

One step draws a batch of curves, shows the model N points of each and asks for Q later ones; the
loss is the mean negative log density of their noisy values (Adriaensen et al. 2023, section 3).
All rows of a batch show equally many points, so nothing is padded.

Letters: B curves of a batch, N observed points, Q queries, T = 100 steps.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from foretoken.errors import InvalidInput, Unsupported
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.layers.bars import bar_nll, equal_mass_borders
from foretoken.models.layers.checkpoint import write_atomically
from foretoken.models.lcpfn.frame import observed_frame, reflected
from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig
from foretoken.models.lcpfn.prior import STEPS, PriorName, sample
from foretoken.models.training import Progress, Recipe, TrainResult, print_progress, train

__all__ = ["PRESETS", "CurveTask", "Preset", "train_lcpfn"]

HELD_OUT_CUTOFFS = (10, 20, 50)


@dataclass(frozen=True)
class Preset:
    """A size and how to train it.

    Args:
        config: the model's shape.
        recipe: how and how long.
        batch: curves per step.
        queries: steps asked of each curve.
        early: the cutoff is 100·u^early, u ~ U(0, 1): 1 is the paper's uniform one, more favours
            short prompts, which are the harder and the cheaper ones.
    """

    config: LCPFNConfig
    recipe: Recipe
    batch: int
    queries: int
    early: float = 1.0


PRESETS = {
    "nano": Preset(  # two CPU cores, two hours
        LCPFNConfig(128, layers=4, heads=4, mlp=256, norm_first=True, frame="observed"),
        Recipe(max_minutes=110, lr=2e-3, precision="bf16", fp32_tail=0.1, log_every=100),
        batch=32,
        queries=24,
        early=1.5,
    ),
    "base": Preset(  # half an hour on one large GPU
        LCPFNConfig(256, layers=6, heads=4, mlp=512, norm_first=True, frame="observed"),
        Recipe(max_minutes=30, lr=1e-3, precision="bf16"),
        batch=1024,
        queries=64,
    ),
    "paper": Preset(  # 10 M curves, post-norm, as published
        LCPFNConfig(width=512, layers=12, heads=4, mlp=1024, bars=1000, norm_first=False),
        Recipe(steps=100_000, lr=1e-4, warmup=0.25, precision="bf16", ema=0.0),
        batch=100,
        queries=99,
    ),
}


class CurveTask:
    """The task that the training loop runs (see ``foretoken.models.training.Task``).

    Args:
        preset: sizes.
        prior: where the curves come from.
        seed: of the initial weights, the borders and the held-out curves.
        device: where batches are made.
    """

    module: nn.Module

    def __init__(
        self, preset: Preset, prior: PriorName, seed: int, device: torch.device | str
    ) -> None:
        self.preset, self.prior, self.device = preset, prior, torch.device(device)
        generator = torch.Generator().manual_seed(seed + 1)
        self._observed = preset.config.frame == "observed"
        borders = equal_mass_borders(self._values(generator), preset.config.bars)
        held_out = {name: sample(256, prior=name, generator=generator) for name in PRIORS}
        self.held_out = {name: curves.noisy.to(self.device) for name, curves in held_out.items()}
        torch.manual_seed(seed)
        self.module = LCPFN(preset.config, borders).to(self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """What the batches and the model depend on besides the recipe."""
        p = self.preset
        return {
            "prior": self.prior,
            "config": asdict(p.config),
            "batch": p.batch,
            "queries": p.queries,
            "early": p.early,
        }

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """(steps [B, N], values [B, N], n [B], at [B, Q], targets [B, Q])."""
        del step  # the generator's state says where the run is
        return self._draw(generator, self.device)

    def _draw(self, generator: torch.Generator, device: torch.device) -> tuple[Tensor, ...]:
        B, Q = self.preset.batch, self.preset.queries
        y = sample(B, prior=self.prior, device=device, generator=generator).noisy
        rng = random.Random(int(torch.randint(2**62, (), generator=generator, device=device)))
        cutoff = int(STEPS * rng.random() ** self.preset.early)
        if self.prior == "paper":
            steps = torch.arange(1, cutoff + 1, device=device).expand(B, cutoff)
        else:
            steps = observed_steps(B, cutoff, rng, generator, device)
        last = steps[:, -1:] if steps.shape[1] else steps.new_zeros(B, 1)
        u = torch.rand(B, Q, device=device, generator=generator)
        at = last + 1 + (u * (STEPS - last)).long().clamp_max(STEPS - 1 - last)
        at[:, 0] = STEPS  # the end of the curve is what most callers ask for
        n = torch.full((B,), steps.shape[1], device=device)
        seen, targets = y.gather(1, steps - 1), y.gather(1, at - 1)
        if self._observed:
            seen, targets = reflected(seen), reflected(targets)
            # A loss has no upper bound, a log-likelihood none at all.
            bounded = torch.rand(B, 2, device=device, generator=generator) < 0.6
            frame = observed_frame(seen, bounded)
            seen, targets = frame.forward(seen), frame.forward(targets)
        return steps.float(), seen, n, at.float(), targets

    def _values(self, generator: torch.Generator) -> Tensor:
        """A million values (10,000 curves) as the model meets them, to choose borders by."""
        if not self._observed:
            return sample(10_000, prior=self.prior, generator=generator).noisy
        cpu = torch.device("cpu")
        rounds = 1_000_000 // (self.preset.batch * self.preset.queries) + 10
        values = [self._draw(generator, cpu)[-1] for _ in range(rounds)]
        # Values far beyond the frame crowd at its ends; spread out, they leave no bar empty.
        crowded = torch.cat(values).clamp(1e-4, 1 - 1e-4)
        return crowded + 2e-4 * (torch.rand(crowded.shape, generator=generator) - 0.5)

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Mean negative log density of the targets."""
        *inputs, targets = batch
        return bar_nll(module(*inputs), targets, cast(LCPFN, self.module).borders).mean()

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Mean negative log density of all later points, per prior and cutoff."""
        figures: dict[str, float] = {}
        x = torch.arange(1.0, STEPS + 1, device=self.device)
        for name, y in self.held_out.items():
            for cutoff in HELD_OUT_CUTOFFS:
                n = torch.full((len(y),), cutoff, device=self.device)
                seen, later = x[:cutoff].expand(len(y), -1), x[cutoff:].expand(len(y), -1)
                values, targets = y[:, :cutoff], y[:, cutoff:]
                log_slope = torch.zeros_like(targets)
                if self._observed:
                    values, targets = reflected(values), reflected(targets)
                    hard = torch.ones(len(y), 2, dtype=torch.bool, device=self.device)
                    frame = observed_frame(values, hard)
                    log_slope = frame.log_slope(targets)
                    values, targets = frame.forward(values), frame.forward(targets)
                logits = module(seen, values, n, later)
                nll = bar_nll(logits, targets, cast(LCPFN, self.module).borders) - log_slope
                figures[f"nll_{name}_{cutoff}"] = float(nll.mean())
        return figures


PRIORS: tuple[PriorName, ...] = ("paper", "wide")


def observed_steps(
    B: int,
    cutoff: int,
    rng: random.Random,
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    """Observed steps [B, N] for the wide prior, N <= cutoff: dense, strided or irregular by row.

    Real curves are often recorded at fewer points than 100 and stretched over the grid, so half
    of the rows show the first points of a curve of S points that spans it, N < S <= 100.
    """
    S = rng.randint(8, STEPS) if rng.random() < 0.5 else STEPS
    N = cutoff * S // STEPS
    if N == 0:
        return torch.empty(B, 0, dtype=torch.long, device=device)
    i = torch.arange(N, device=device)
    u = torch.rand(B, 3, device=device, generator=generator)
    low = max(N + 1, min(8, STEPS))
    points = low + u[:, :1] * (STEPS - low)  # S of each row, as a real number
    stride = STEPS / points
    # A curve's first record stands at step 1 or one stride into the run.
    strided = torch.where(u[:, 2:] < 0.5, 1 + i * (STEPS - 1) / (points - 1), (i + 1) * stride)
    strided = strided.round().long().clamp(1, STEPS)
    span = strided[:, -1:]
    scores = torch.rand(B, STEPS, device=device, generator=generator)
    scores = scores.masked_fill(torch.arange(1, STEPS + 1, device=device) > span, -1.0)
    irregular = scores.topk(N, dim=1).indices.sort(dim=1).values + 1
    kind = u[:, 1:2]
    return torch.where(kind < 0.5, i + 1, torch.where(kind < 0.9, strided, irregular))


def train_lcpfn(
    preset: str | Preset,
    *,
    out: Path | str,
    prior: PriorName = "wide",
    seed: int | None = None,
    minutes: float | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Train in ``out``, or resume the run there; ``out/artefact`` is then ready to be registered.

    Args:
        preset: a name in ``PRESETS``, or a preset of one's own.
        out: folder of the run: log, checkpoint and, at the end, the artefact.
        prior: where the curves come from.
        seed: replaces the preset's.
        minutes: of wall-clock time, in the place of the preset's.
        device: default: a GPU where there is one.
        progress: default: a line per logged step.

    Raises:
        InvalidInput: unknown preset or prior.
        Unsupported: the recipe asks for torch.compile.
        FailedPrecondition, DataLoss, KeyboardInterrupt: as ``foretoken.models.training.train``.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InvalidInput(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    if preset.recipe.compile:
        raise Unsupported("batches vary in shape, which torch.compile does not take; compile=False")
    if seed is not None:
        preset = replace(preset, recipe=replace(preset.recipe, seed=seed))
    if minutes is not None:
        preset = replace(preset, recipe=replace(preset.recipe, max_minutes=minutes))
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    task = CurveTask(preset, prior, preset.recipe.seed, device)
    result = train(task, preset.recipe, out, device=device, progress=progress or print_progress)
    report = {
        "data": f"synthetic curves from the {prior} prior; no measured curve was used",
        "prior": prior,
        "recipe": asdict(preset.recipe),
        "batch": preset.batch,
        "queries": preset.queries,
        "early": preset.early,
        "seed": preset.recipe.seed,
        "steps": result.steps,
        "curves": result.steps * preset.batch,
        "minutes": round(result.minutes, 2),
        "parameters": sum(p.numel() for p in task.module.parameters()),
        "held_out": result.figures,
    }
    folder = Path(out) / "artefact"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / WEIGHTS, save(result.parameters))
    Artefact("lcpfn", asdict(preset.config), {}, training=report).write(folder)
    return result


def main(argv: list[str] | None = None) -> None:
    """The command line; every option not given comes from the preset."""
    parser = argparse.ArgumentParser(description="Train LC-PFN on curves drawn from a prior.")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="nano")
    parser.add_argument("--prior", choices=PRIORS, default="wide")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; resumes it")
    parser.add_argument("--device", help="default: a GPU where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--minutes", type=float, help="wall-clock budget")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lr", type=float)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    preset = PRESETS[args.preset]
    given = {"steps": args.steps, "lr": args.lr}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = replace(preset.recipe, **given)
    train_lcpfn(
        replace(preset, recipe=recipe),
        out=args.out,
        prior=args.prior,
        seed=args.seed,
        minutes=args.minutes,
        device=args.device,
    )


if __name__ == "__main__":
    main()
