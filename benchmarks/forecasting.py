"""Forecasts of ETTh1: Aaren beside a Transformer and a GRU of its size, and beside what repeats.

    python -m benchmarks.forecasting [--seeds N] [--steps N] [--mixers M ...] [--windows L ...]
        [--runs DIR] [--plot FILE]

The streaming forecaster of models/aaren, with the mixer of its layers exchanged and all else equal:
width, layers, heads, MLP, head, loss, crops, steps, schedule and seeds. One model forecasts each of
the seven channels by itself, 192 hours ahead, of which the first 24, 96 and all are scored: squared
and absolute errors of the median, of values standardised by the training months, at every origin of
the four test months. Each origin has seen 336 to 383 hours. ``windows`` are how many hours a token
holds: with 192, as in the model that is served, a linear forecast from the token alone goes far;
with 24, the mixer has to remember. Steps and learning rate were chosen on the validation months,
with Aaren. A run that was stopped is resumed, one that ended is read. Needs ../shared/data.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import SHARED, keep
from benchmarks.series import etth1
from benchmarks.series.mixers import COLOURS, MIXERS, factory
from foretoken.models.aaren.config import AarenConfig
from foretoken.models.aaren.forecaster import Forecaster
from foretoken.models.aaren.forecasting import loss
from foretoken.models.training import Recipe, train

STEPS, SEEDS = 300, 2
DATA = SHARED / "series" / "ETTh1.csv"
RUNS = Path(__file__).resolve().parents[1] / "runs" / "forecasting"
HORIZONS = (24, 96, 192)
SEEN, BLOCK = 336, 48  # hours before the first of so many origins that are forecast in one pass
SPAN = SEEN + BLOCK - 1  # hours of a crop, in training and after it
EARLIEST = 96  # hours seen before a forecast is learned from
CROPS, ORIGINS = 16, 24  # of a batch, and of a crop
LEVELS = (0.1, 0.5, 0.9)


def config(window: int) -> AarenConfig:
    return AarenConfig(
        width=64,
        layers=3,
        heads=4,
        mlp=128,
        window=window,
        horizon=HORIZONS[-1],
        levels=LEVELS,
    )


def recipe(steps: int, seed: int) -> Recipe:
    return Recipe(
        steps=steps,
        lr=2e-3,
        warmup=0.1,
        weight_decay=0.01,
        log_every=20,
        evaluate_minutes=5,
        seed=seed,
    )


class Crops:
    """Forecasting of the training months (see ``foretoken.models.training.Task``)."""

    module: nn.Module

    def __init__(self, parts: Mapping[str, etth1.Part], mixer: str, window: int, seed: int) -> None:
        self.mixer, self.config = mixer, config(window)
        self.validation = parts["validation"]
        self.values = torch.from_numpy(parts["train"].values.astype(np.float64))
        torch.manual_seed(seed)
        c = self.config
        self.module = Forecaster(c, factory(mixer, c.width, c.heads))

    @property
    def settings(self) -> dict[str, Any]:
        return {"config": asdict(self.config), "mixer": self.mixer, "crops": [CROPS, ORIGINS, SPAN]}

    def batch(self, generator: torch.Generator, step: int) -> tuple[Tensor, ...]:
        del step
        T, C = self.values.shape
        H = self.config.horizon
        first = torch.randint(T - SPAN - H + 1, (CROPS, 1), generator=generator)
        channel = torch.randint(C, (CROPS, 1), generator=generator)
        y = self.values[first + torch.arange(SPAN + H), channel]
        at = EARLIEST + torch.randperm(SPAN - EARLIEST, generator=generator)[:ORIGINS]
        return y, at.sort().values

    def loss(self, module: Callable[..., Any], batch: tuple[Tensor, ...]) -> Tensor:
        y, at = batch
        return loss(module, y, at, self.config)

    def evaluate(self, module: nn.Module) -> dict[str, float]:
        found = errors(forecasts(module, self.validation), self.validation)
        return {f"{name}_{H}": each[name] for H, each in found.items() for name in each}


@torch.no_grad()
def forecasts(module: nn.Module, part: etth1.Part) -> etth1.Floats:
    """Medians at every hour of a part, [S, H, C]: of the S hours, after those before each."""
    T, C = part.values.shape
    S = T - part.first
    blocks = -(-S // BLOCK)
    padded = np.pad(part.values[part.first - SEEN :], ((0, blocks * BLOCK - S), (0, 0)))
    starts = np.arange(blocks)[:, None] * BLOCK + np.arange(SPAN)
    x = torch.from_numpy(padded.T[:, starts].reshape(C * blocks, SPAN).astype(np.float64))
    at = torch.arange(SEEN - 1, SPAN)
    found = []
    for each in torch.split(x, 64):
        z, loc, scale = module.forecasts(each, at)  # type: ignore[operator]
        found.append(loc[..., None] + scale[..., None] * z[:, :, len(LEVELS) // 2])
    medians = torch.cat(found).view(C, blocks * BLOCK, -1)[:, :S]  # [C, S, H]
    kept: etth1.Floats = medians.permute(1, 2, 0).float().numpy()
    return kept


def errors(made: etth1.Floats, part: etth1.Part) -> dict[int, dict[str, float]]:
    """Mean squared and absolute errors of forecasts [S, H, C] by horizon."""
    found = {}
    for H in HORIZONS:
        _, wanted = etth1.windows(part, SEEN, H)
        apart = made[: len(wanted), :H] - wanted
        found[H] = {"mse": float((apart**2).mean()), "mae": float(np.abs(apart).mean())}
    return found


def naive(part: etth1.Part) -> dict[int, dict[str, float]]:
    """Errors of the last 24 hours again and again."""
    contexts = np.lib.stride_tricks.sliding_window_view(part.values[:-1], 24, axis=0)
    last = contexts[part.first - 24 :].transpose(0, 2, 1)
    return errors(etth1.naive(last, HORIZONS[-1]), part)


def main() -> None:
    args = arguments()
    if not DATA.is_file():
        print("skipped: forecasting needs ../shared/data, which is not here")
        return
    torch.set_num_threads(1)
    parts = etth1.load(DATA, SEEN)
    runs = []
    for seed in range(args.seeds):
        for window in args.windows:
            for mixer in args.mixers:
                runs.append(trained(parts, mixer, window, recipe(args.steps, seed), args.runs))
                print(f"window {window}, seed {seed}: {mixer}, {line(runs[-1]['test'])}")
    found = {"seasonal naive": naive(parts["test"]), "models": summary(runs)}
    show(found)
    settings = {
        "config": asdict(config(args.windows[0])),
        "recipe": asdict(recipe(args.steps, 0)),
        "crops": [CROPS, ORIGINS, SPAN],
        "seen": [SEEN, SPAN],
    }
    if args.steps == STEPS and args.seeds >= SEEDS:
        keep("forecasting", {"settings": settings, **found, "runs": runs})
    if args.plot:
        plot(args.plot, found)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--mixers", nargs="+", choices=MIXERS, default=list(MIXERS[:3]))
    parser.add_argument("--windows", nargs="+", type=int, default=[192, 24])
    parser.add_argument("--runs", type=Path, default=RUNS, help="folder of the trained models")
    parser.add_argument("--plot", type=Path, help="draw the errors into this file")
    return parser.parse_args()


def trained(
    parts: Mapping[str, etth1.Part], mixer: str, window: int, how: Recipe, runs: Path
) -> dict[str, Any]:
    """One model, trained or read, and its errors on the test months."""
    task = Crops(parts, mixer, window, how.seed)
    folder = runs / f"{mixer.replace(' ', '-')}-{window}-{how.steps}-{how.seed}"
    result = train(task, how, folder, progress=lambda _done, _row: None)
    task.module.load_state_dict(result.parameters, strict=False)  # but for buffers made anew
    return {
        "mixer": mixer,
        "window": window,
        "seed": how.seed,
        "parameters": sum(p.numel() for p in task.module.parameters()),
        "minutes": round(result.minutes, 2),
        "validation": result.figures,
        "test": errors(forecasts(task.module.eval(), parts["test"]), parts["test"]),
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over seeds, their deviation, and each mean over the Transformer's."""
    groups: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for each in runs:
        groups.setdefault((each["window"], each["mixer"]), []).append(each)
    found = []
    for (window, mixer), members in groups.items():
        row: dict[str, Any] = {"window": window, "mixer": mixer, "seeds": len(members)}
        peers = groups.get((window, "transformer"))
        for H in HORIZONS:
            values = {
                name: np.array([m["test"][H][name] for m in members]) for name in ("mse", "mae")
            }
            row[f"{H}"] = {name: float(v.mean()) for name, v in values.items()}
            row[f"{H}"] |= {f"{name}_std": float(v.std()) for name, v in values.items()}
            for name in values if peers else ():
                of = np.mean([p["test"][H][name] for p in peers or ()])
                row[f"{H}"][f"{name}_over_transformer"] = float(values[name].mean() / of)
        found.append(row)
    return found


def line(found: Mapping[int, Mapping[str, float]]) -> str:
    return "   ".join(f"{H}: {e['mse']:.3f} {e['mae']:.3f}" for H, e in found.items())


def show(found: Mapping[str, Any]) -> None:
    print(f"\n{'':28}" + "".join(f"{f'{H} hours: MSE, MAE':>28}" for H in HORIZONS))
    print(f"{'seasonal naive':28}", end="")
    print(
        "".join(
            f"{e['mse']:14.3f} {e['mae']:6.3f}       " for e in found["seasonal naive"].values()
        )
    )
    for row in found["models"]:
        print(f"{row['mixer']}, {row['window']} hours a token".ljust(28), end="")
        for H in HORIZONS:
            e = row[f"{H}"]
            of = e.get("mse_over_transformer")
            print(f"{e['mse']:14.3f} {e['mae']:6.3f}", end="" if of is None else f" x{of:.3f}")
        print()


def plot(path: Path, found: Mapping[str, Any]) -> None:
    """Squared error by horizon: a panel for each window."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    windows = list(dict.fromkeys(row["window"] for row in found["models"]))
    figure = Figure(figsize=(8, 3.2), dpi=150, layout="constrained")
    for axes, window in zip(
        figure.subplots(1, len(windows), sharey=True, squeeze=False)[0], windows, strict=True
    ):
        naive_mse = [found["seasonal naive"][H]["mse"] for H in HORIZONS]
        axes.plot(HORIZONS, naive_mse, "--", color="#94a3b8", label="seasonal naive")
        for row in (r for r in found["models"] if r["window"] == window):
            each = [row[f"{H}"] for H in HORIZONS]
            colour = COLOURS[row["mixer"]]
            mean, std = [e["mse"] for e in each], [e["mse_std"] for e in each]
            axes.errorbar(HORIZONS, mean, std, marker="o", color=colour, label=row["mixer"])
        axes.set_title(f"tokens of {window} hours", fontsize=9, loc="left")
        axes.set_xticks(HORIZONS)
        axes.set_xlabel("hours ahead")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("mean squared error")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    main()
