"""The one training loop: every family trained here gives a :class:`Task`, the loop does the rest.

A run lives in a folder: ``log.csv`` (one row per logged step), ``checkpoint.json`` naming the
newest ``checkpoint-<step>.safetensors``. Calling :func:`train` again on that folder resumes; on a
CPU a resumed run continues bit for bit as if it had never stopped, provided that its schedule
counts steps (a schedule bounded by ``max_minutes`` follows the clock).
"""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.models.batches import Batches
from foretoken.models.layers.checkpoint import CsvLog, load_checkpoint, save_checkpoint

__all__ = ["Progress", "Recipe", "Task", "TrainResult", "learning_rate", "train"]

NOISE = 1 << 40  # tells the seed of gradient noise from that of batches
OPTIMISER_STATE = ("step", "exp_avg", "exp_avg_sq")


class Task(Protocol):
    """What a family gives to be trained."""

    module: nn.Module

    @property
    def settings(self) -> dict[str, Any]:
        """What shapes the run besides the recipe, in JSON's terms; a resumed run has the same."""

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        """The tensors of one step, drawn from the generator alone."""

    def loss(self, module: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
        """Scalar to minimise; ``module`` may be a compiled form of ``self.module``."""

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        """Held-out figures by name; called without gradients on the averaged weights."""


@dataclass(frozen=True)
class Recipe:
    """How to train; at least one of ``steps`` and ``max_minutes`` bounds the run.

    Args:
        steps: optimiser steps, above 0; the schedule ends there.
        max_minutes: wall-clock budget over all resumptions, above 0; the schedule ends there if it
            comes before ``steps``.
        lr: peak learning rate of AdamW.
        warmup: fraction of the schedule that rises linearly.
        final_lr: where the cosine ends, as a fraction of ``lr``.
        weight_decay: on tensors of two axes or more; biases and norms are left alone.
        betas: AdamW's.
        clip: largest gradient norm.
        gradient_noise: standard deviation of Gaussian noise added to gradients, scaled by
            (1 + step)^-0.55; 0 for none.
        ema: decay of the averaged weights; 0 keeps the plain ones.
        precision: "fp32", or "bf16" autocast.
        fp32_tail: last fraction of the schedule that runs in fp32 even so, which lets the weights
            settle at the precision they are served in.
        seed: of everything random in the run.
        compile: run the module through torch.compile; for tasks whose batches keep one shape.
            Needs a C++ compiler on a CPU.
        log_every: steps between rows of the log, above 0.
        evaluate_minutes: minutes between held-out evaluations.
        checkpoint_minutes: minutes between checkpoints.

    Raises:
        InvalidInput: no bound is given, or a figure is out of range.
    """

    steps: int | None = None
    max_minutes: float | None = None
    lr: float = 1e-3
    warmup: float = 0.05
    final_lr: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    gradient_noise: float = 0.0
    ema: float = 0.999
    precision: str = "fp32"
    fp32_tail: float = 0.0
    seed: int = 0
    compile: bool = False
    log_every: int = 50
    evaluate_minutes: float = 5.0
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        if self.steps is None and self.max_minutes is None:
            raise InvalidInput("a recipe needs steps, max_minutes or both, or it never ends")
        if self.steps is not None and self.steps <= 0:
            raise InvalidInput(f"steps is {self.steps}; a run takes more than 0")
        if self.max_minutes is not None and not 0 < self.max_minutes < math.inf:
            raise InvalidInput(f"max_minutes is {self.max_minutes:g}; need more than 0, and an end")
        if self.log_every <= 0:
            raise InvalidInput(f"log_every is {self.log_every}; rows are 1 step or more apart")
        if self.precision not in ("fp32", "bf16"):
            raise InvalidInput(f"precision is {self.precision!r}; choose 'fp32' or 'bf16'")
        if not (self.lr > 0 and 0 <= self.warmup < 1 and 0 <= self.ema < 1 and self.clip > 0):
            raise InvalidInput("need lr > 0, clip > 0, 0 <= warmup < 1 and 0 <= ema < 1")


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Args:
        finished: the schedule reached its end (False after an interruption).
        steps: optimiser steps done over all resumptions.
        minutes: wall-clock minutes over all resumptions.
        figures: held-out figures of the averaged weights at the end.
        parameters: averaged weights, float32 on the CPU, buffers included.
    """

    finished: bool
    steps: int
    minutes: float
    figures: dict[str, float]
    parameters: dict[str, Tensor]


Progress = Callable[[float, dict[str, float]], None]
"""Called at each logged step with the fraction done and the logged row."""


def print_progress(done: float, row: dict[str, float]) -> None:
    """The default progress: one plain line per logged step."""
    text = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
    sys.stdout.write(f"{done:6.1%}  {text}\n")
    sys.stdout.flush()


def learning_rate(recipe: Recipe, done: float) -> float:
    """Linear warm-up, then a cosine to ``final_lr``; done is the fraction of the schedule."""
    done = min(max(done, 0.0), 1.0)
    if done < recipe.warmup:
        return recipe.lr * done / recipe.warmup
    rest = (done - recipe.warmup) / (1 - recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * rest))
    return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * cosine)


def train(
    task: Task,
    recipe: Recipe,
    out: Path | str,
    *,
    device: torch.device | str = "cpu",
    progress: Progress = print_progress,
) -> TrainResult:
    """Train, or resume the run that lies in ``out``.

    Raises:
        FailedPrecondition: the folder holds a run of another recipe or of a task with other
            settings, or training diverged.
        DataLoss: its checkpoint is damaged.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the checkpoint is written.
    """
    run = _Run(task, recipe, Path(out), torch.device(device), progress)
    with _Interrupts() as interrupts:
        try:
            while not run.done() and not interrupts.pending:
                run.step_once()
        finally:
            run.batches.close()
        run.checkpoint()
    if interrupts.pending:
        raise KeyboardInterrupt
    return run.result()


class _Interrupts:
    """Holds Ctrl-C and SIGTERM back until the current step is over."""

    def __init__(self) -> None:
        self.pending = False
        self._old: dict[int, Any] = {}

    def _note(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.pending = True

    def __enter__(self) -> _Interrupts:
        try:
            for name in (signal.SIGINT, signal.SIGTERM):
                self._old[name] = signal.signal(name, self._note)
        except ValueError:  # not the main thread: signals are someone else's to hold
            self._old.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._old.items():
            signal.signal(name, handler)


class _Run:
    """The state of one run; the only owner of optimiser, averages, log and clock."""

    def __init__(
        self, task: Task, recipe: Recipe, out: Path, device: torch.device, progress: Progress
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.task, self.recipe, self.out, self.device = task, recipe, out, device
        self.progress = progress
        torch.manual_seed(recipe.seed)
        self.module = task.module.to(device)
        self.forward: Callable[..., Tensor] = self.module
        if recipe.compile:
            self.forward = torch.compile(self.module)
        self.average = {k: v.detach().clone() for k, v in self.module.named_parameters()}
        self.optimiser = _optimiser(self.module, recipe)
        self.sums = torch.zeros(2, device=device)  # of loss and gradient norm since the last row
        self.steps, self.minutes_before = 0, 0.0
        generator = torch.Generator(device).manual_seed(recipe.seed)
        self.noise = torch.Generator(device).manual_seed(recipe.seed ^ NOISE)
        self._restore(generator)
        self.batches = Batches(task.batch, generator, self.steps)
        self.started = time.monotonic()
        self.log = CsvLog(out / "log.csv", self.steps)
        self.evaluated_at = self.saved_at = self.minutes()

    def minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self.started) / 60

    def fraction(self) -> float:
        """Of the schedule that is over: by steps or by the clock, whichever is further."""
        r = self.recipe
        by_steps = self.steps / r.steps if r.steps else 0.0
        by_clock = self.minutes() / r.max_minutes if r.max_minutes else 0.0
        return min(max(by_steps, by_clock), 1.0)

    def done(self) -> bool:
        return self.fraction() >= 1

    def step_once(self) -> None:
        r = self.recipe
        done = self.fraction()
        lr = learning_rate(r, done)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        batch = next(self.batches)
        half = r.precision == "bf16" and done < 1 - r.fp32_tail
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            loss = self.task.loss(self.forward, batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), r.clip)
        self._add_gradient_noise()
        self.optimiser.step()
        self.steps += 1
        self._update_average()
        self.sums += torch.stack([loss.detach().float(), norm.detach()])
        if self.steps % r.log_every == 0:
            self._log(lr)
        if self.minutes() - self.saved_at >= r.checkpoint_minutes:
            self.checkpoint()

    def _add_gradient_noise(self) -> None:
        if self.recipe.gradient_noise == 0:
            return
        std = self.recipe.gradient_noise * (1 + self.steps) ** -0.55
        for p in self.module.parameters():
            if p.grad is not None:
                noise = torch.randn(p.shape, device=self.device, generator=self.noise)
                p.grad.add_(noise, alpha=std)

    @torch.no_grad()
    def _update_average(self) -> None:
        # A young average forgets faster, or it would remember the initialisation.
        decay = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        names, live = zip(*self.module.named_parameters(), strict=True)
        torch._foreach_lerp_([self.average[k] for k in names], list(live), 1 - decay)

    def _refuse_divergence(self) -> None:
        if not self.sums.isfinite().all():
            raise FailedPrecondition(
                f"training diverged by step {self.steps}: loss or gradients are not finite; "
                f"{self.out} keeps the last good checkpoint; start anew with a lower lr"
            )

    def _log(self, lr: float) -> None:
        self._refuse_divergence()
        every, figures = self.recipe.log_every, {}
        if self.minutes() - self.evaluated_at >= self.recipe.evaluate_minutes:
            figures = self.evaluate()
            self.evaluated_at = self.minutes()
        loss, norm = (self.sums / every).tolist()
        self.sums.zero_()
        row = {
            "step": self.steps,
            "minutes": self.minutes(),
            "loss": loss,
            "lr": lr,
            "grad_norm": norm,
            **figures,
        }
        self.log.write(row)
        self.progress(self.fraction(), row)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Held-out figures of the averaged weights; the live ones are put back afterwards."""
        live = {k: v.detach().clone() for k, v in self.module.named_parameters()}
        self._put(self.average)
        self.module.eval()
        figures = self.task.evaluate(self.module)
        self.module.train()
        self._put(live)
        return figures

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, p in self.module.named_parameters():
            p.copy_(values[name])

    def checkpoint(self) -> None:
        """Write everything that the next step depends on."""
        self._refuse_divergence()
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for name, p in self.module.named_parameters():
            for key, value in self.optimiser.state[p].items():
                tensors[f"optimiser.{key}.{name}"] = value
        tensors["random.data"] = self.batches.state
        tensors["random.noise"] = self.noise.get_state()
        tensors["random.torch"] = torch.get_rng_state()
        tensors["sums"] = self.sums
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        state = {"steps": self.steps, "minutes": self.minutes()}
        save_checkpoint(self.out, self.steps, tensors, {**state, **self._identity()})
        self.saved_at = self.minutes()

    def _identity(self) -> dict[str, Any]:
        """What makes a checkpoint one of this run."""
        return {"recipe": asdict(self.recipe), "settings": self.task.settings}

    @torch.no_grad()
    def _restore(self, generator: torch.Generator) -> None:
        loaded = load_checkpoint(self.out, self._identity())
        if loaded is None:
            return
        tensors, state = loaded
        self.module.load_state_dict(_part(tensors, "module."))
        self.average = {k: v.to(self.device) for k, v in _part(tensors, "average.").items()}
        for name, p in self.module.named_parameters():
            entry = {key: tensors[f"optimiser.{key}.{name}"] for key in OPTIMISER_STATE}
            # AdamW keeps its step counter on the parameter's device when fused.
            self.optimiser.state[p] = {key: v.to(self.device) for key, v in entry.items()}
        generator.set_state(tensors["random.data"])
        self.noise.set_state(tensors["random.noise"])
        torch.set_rng_state(tensors["random.torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)
        self.sums.copy_(tensors["sums"])
        self.steps, self.minutes_before = int(state["steps"]), float(state["minutes"])

    def result(self) -> TrainResult:
        figures = self.evaluate()
        buffers = dict(self.module.named_buffers())
        parameters = {
            k: v.detach().float().cpu().contiguous() for k, v in (self.average | buffers).items()
        }
        return TrainResult(self.done(), self.steps, self.minutes(), figures, parameters)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _optimiser(module: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [p for p in module.parameters() if p.ndim >= 2]
    others = [p for p in module.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)
