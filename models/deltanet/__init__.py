"""DeltaNet: a memory of fixed size that recalls what was stored under a key (Yang et al. 2024)."""

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
    from foretoken.models.deltanet.train import train_deltanet  # noqa: PLC0415

    gated, seed = options["gated"] == "yes", options["seed"]
    train_deltanet(preset, out=out, gated=gated, seed=seed, progress=progress)


class DeltaNetFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "deltanet"
    task = Task.SEQUENCE
    kind = Kind.RECURRENT
    summary = "Reads tokens one by one into a memory of fixed size, and recalls what followed a key"
    source = (
        "Yang et al. 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence "
        "Length"
    )
    small: Mapping[str, Any] = {
        "vocab": 16,
        "width": 16,
        "layers": 2,
        "heads": 2,
        "mlp": 32,
        "conv": 4,
        "gated": False,
    }
    recipe = Recipe(
        presets={
            "nano": "16 pairs in 128 tokens; one CPU core, five minutes",
            "small": "64 pairs in 256 tokens; one CPU core, half an hour; deltanet-recall",
            "base": "256 pairs in 1,024 of 4,096 tokens; one large GPU, an hour",
        },
        options=(
            Option("gated", "no", "whether memories fade, as in Gated DeltaNet", ("no", "yes")),
            Option("seed", 0, "of weights and sequences"),
        ),
        run=_train,
        default="small",
    )
    importers: Mapping[str, Importer] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        state = tuple(
            Tensor(name, "float32", ("B", *shape)) for name, shape in shapes(config).items()
        )
        V = config["vocab"]
        return (
            Graph(
                name="step",
                inputs=(Tensor("x", "int64", ("B", 1)),),
                outputs=(Tensor("logits", "float32", ("B", V)),),
                reads=state,
                writes=state,
            ),
            Graph(
                name="scan",
                inputs=(Tensor("x", "int64", ("B", "T", 1)), Tensor("length", "int64", ("B",))),
                outputs=(Tensor("logits", "float32", ("B", "T", V)),),
                reads=state,
                writes=state,
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.deltanet.model import DeltaNetConfig, DeltaNetModel  # noqa: PLC0415

        return DeltaNetModel(DeltaNetConfig(**config))

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.deltanet.predict import TokenPredictor  # noqa: PLC0415

        del weights
        return TokenPredictor(config["vocab"], shapes(config))

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        for B, T, fresh in _SIZES:
            for x in _tokens(rng, B, T, config["vocab"]):
                length = rng.integers(1, T + 1, B)
                length[0] = T
                inputs = {"x": x[:, 0]} if graph == "step" else {"x": x, "length": length}
                yield {**inputs, **_state(rng, B, config, fresh=fresh)}


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Of the state's tensors by name, without the batch axis."""
    L, W, H = config["layers"], config["width"], config["heads"]
    return {"S": (L * H, W // H, W // H), "conv": (L * 3 * W, config["conv"] - 1)}


# Sequences, tokens (padded), whether nothing came before: within a chunk, at its end, beyond.
_SIZES = ((1, 1, True), (4, 32, True), (3, 33, False), (2, 130, True), (5, 7, False))


def _tokens(rng: np.random.Generator, B: int, T: int, vocab: int) -> Iterator[Array]:
    """Any tokens; and, at some sizes, one token over and over, whose keys are all the same."""
    yield rng.integers(0, vocab, (B, T, 1))
    if T > 100:
        yield np.full((B, T, 1), vocab - 1)
    if B == 3:
        yield np.tile(np.array([0, vocab - 1]), (B, T))[:, :T, None].astype(np.int64)


def _state(rng: np.random.Generator, B: int, config: Config, *, fresh: bool) -> Arrays:
    """Nothing yet; or memories far larger than what tokens leave behind."""
    size = 0.0 if fresh else 10.0
    return {
        name: size * rng.standard_normal((B, *shape)).astype(np.float32)
        for name, shape in shapes(config).items()
    }


FAMILY = DeltaNetFamily()
