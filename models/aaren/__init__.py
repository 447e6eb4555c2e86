"""Aaren: series and sequences in constant memory, one observation at a time (Feng et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretoken.models.aaren.graphs import examples, graphs, start
from foretoken.models.contract import Arrays, Config, Graph, Kind, Predictor
from foretoken.models.recipes import Importer, Option, Progress, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn


def _train(
    preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None
) -> None:
    from foretoken.models.aaren.train import run  # noqa: PLC0415

    run(preset, options, out, progress)


class AarenFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "aaren"
    task = Task.SEQUENCE
    kind = Kind.RECURRENT
    summary = "Forecasts series or classifies sequences, one observation at a time"
    source = "Feng et al. 2024, Attention as an RNN"
    small: Mapping[str, Any] = {
        "head": "forecaster",
        "inputs": 1,
        "width": 16,
        "layers": 2,
        "heads": 4,
        "mlp": 32,
        "window": 12,
        "horizon": 5,
        "levels": [0.05, 0.25, 0.5, 0.75, 0.95],
        "classes": [],
        "decay": [0.0, 0.5, 0.1, 0.01],
        "folded": True,
        "mean": [],
        "std": [],
    }
    recipe = Recipe(
        presets={
            "nano": "minutes on one CPU core; for trying out, or for series of one's own",
            "small": "one CPU core, an hour and a half; aaren-forecast",
            "base": "one large GPU, an hour",
        },
        options=(
            Option("csv", "", "learn one's own series from this file, not synthetic ones"),
            Option("target", "", "its column to forecast, or of labels"),
            Option("head", "forecaster", "what to learn from it", ("forecaster", "classifier")),
            Option("series", "", "its column that tells series apart; a classifier needs one"),
            Option("horizon", 0, "steps to forecast; 0 takes the preset's"),
            Option("season", 24, "steps of the seasonal naive forecast to compare with"),
            Option("seed", 0, "of weights and series"),
            Option("minutes", 0.0, "of wall-clock time; 0 takes the preset's"),
        ),
        run=_train,
        default="nano",
    )
    importers: Mapping[str, Importer] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        return graphs(config)

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.aaren.config import AarenConfig  # noqa: PLC0415
        from foretoken.models.aaren.model import build  # noqa: PLC0415

        return build(AarenConfig(**config))

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.aaren.predict import (  # noqa: PLC0415
            ClassPredictor,
            ForecastPredictor,
        )

        del weights  # all that is needed is in the configuration
        if config["head"] == "forecaster":
            return ForecastPredictor(start(config), config["levels"], config["horizon"])
        return ClassPredictor(start(config), config["mean"], config["std"])

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        return examples(config, graph)


FAMILY = AarenFamily()
