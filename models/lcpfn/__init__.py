"""LC-PFN: learning curves extrapolated in one forward pass (Adriaensen et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.models.contract import Array, Arrays, Config, Graph, Kind, Predictor, Tensor
from foretoken.models.recipes import Importer, Option, Progress, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn


def _train(
    preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None
) -> None:
    from foretoken.models.lcpfn.train import train_lcpfn  # noqa: PLC0415

    minutes = options["minutes"] or None
    prior, seed = options["prior"], options["seed"]
    train_lcpfn(preset, out=out, prior=prior, seed=seed, minutes=minutes, progress=progress)


def _import_official(source: Path, options: Mapping[str, Any], out: Path) -> None:
    from foretoken.models.lcpfn.official import convert  # noqa: PLC0415

    convert(source, out, **options)


class LCPFNFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "lcpfn"
    task = Task.CURVE
    kind = Kind.STATELESS  # a curve is at most a hundred points: it travels with every request
    summary = "Extrapolates learning curves, with uncertainty, in one forward pass"
    source = "Adriaensen et al. 2023, Efficient Bayesian Learning Curve Extrapolation using PFNs"
    small: Mapping[str, Any] = {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "mlp": 32,
        "bars": 20,
        "norm_first": True,
        "frame": "observed",
    }
    recipe = Recipe(
        presets={
            "nano": "two CPU cores, up to two hours",
            "base": "one large GPU, half an hour",
            "paper": "10 M curves, GPU hours; with -o prior=paper for the paper's own curves",
        },
        options=(
            Option("prior", "wide", "where the curves come from", ("wide", "paper")),
            Option("seed", 0, "of weights, borders and curves"),
            Option("minutes", 0.0, "of wall-clock time; 0 takes the preset's"),
        ),
        run=_train,
    )
    importers: Mapping[str, Importer] = {
        "lcpfn-official": Importer(
            summary="the authors' state dict, as .safetensors or as a .pt of tensors only",
            options=(Option("heads", 4, "attention heads, which a state dict does not tell"),),
            run=_import_official,
        )
    }

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        return (
            Graph(
                name="forward",
                inputs=(
                    Tensor("steps", "float32", ("B", "N")),
                    Tensor("values", "float32", ("B", "N")),
                    Tensor("n", "int64", ("B",)),
                    Tensor("at", "float32", ("B", "Q"), pad=1.0),
                ),
                outputs=(Tensor("logits", "float32", ("B", "Q", config["bars"])),),
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig  # noqa: PLC0415

        return LCPFN(LCPFNConfig(**config))

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.lcpfn.predict import CurvePredictor  # noqa: PLC0415

        return CurvePredictor(weights["borders"], config["frame"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        del config, graph
        rng = np.random.default_rng(0)
        # Nothing seen, all seen, and what lies between; (rows, observed, queries).
        for rows, seen, asked in ((1, 1, 1), (1, 10, 90), (3, 100, 1), (8, 37, 63), (2, 5, 200)):
            n = rng.integers(0, seen + 1, rows)
            n[0] = seen
            yield _example(n, rng.uniform(0, 1, (rows, seen)), asked)
        yield _example(np.zeros(2, np.int64), np.zeros((2, 4)), 7)
        # Constant, alternating between the ends, and far outside of what was trained on.
        for values in (np.full((2, 50), 0.5), np.tile([0.0, 1.0], (2, 25)), np.full((2, 50), 30.0)):
            yield _example(np.array([50, 1]), values, 50)


def _example(n: Array, values: Array, asked: int) -> Arrays:
    rows, seen = values.shape
    return {
        "steps": np.tile(np.linspace(1, 100, seen), (rows, 1)).astype(np.float32),
        "values": values.astype(np.float32),
        "n": n.astype(np.int64),
        "at": np.tile(np.linspace(1, 100, asked), (rows, 1)).astype(np.float32),
    }


FAMILY = LCPFNFamily()
