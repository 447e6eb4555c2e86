"""TabPFN: a transformer that reads a labelled table and classifies further rows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.models.contract import Array, Arrays, Config, Graph, Kind, Tensor
from foretoken.models.recipes import Importer, Option, Progress, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from foretoken.models.tabpfn.predict import TabularPredictor


def _train(
    preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None
) -> None:
    from foretoken.models.tabpfn.train import train_tabpfn  # noqa: PLC0415

    minutes, seed = options["minutes"] or None, options["seed"]
    train_tabpfn(preset, out=out, seed=seed, minutes=minutes, progress=progress)


def _import_v1(source: Path, options: Mapping[str, Any], out: Path) -> None:
    from foretoken.models.tabpfn.official import convert  # noqa: PLC0415

    convert(source, out, **options)


class TabPFNFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "tabpfn"
    task = Task.TABULAR
    kind = Kind.IN_CONTEXT
    summary = "Classifies rows of a table by labelled ones, without training"
    source = (
        "Hollmann et al. 2022, TabPFN: A Transformer That Solves Small Tabular Classification "
        "Problems in a Second"
    )
    small: Mapping[str, Any] = {
        "width": 16,
        "layers": 2,
        "heads": 2,
        "mlp": 32,
        "rows": 1024,
        "features": 100,
        "classes": 10,
        "norm_first": False,
        "labels": "linear",
        "shared": None,
        "pipeline": "v1",
    }
    recipe = Recipe(
        presets={
            "nano": "two CPU cores, up to two hours",
            "base": "one large GPU, half an hour",
            "paper": "18,000 steps of 512 tables at the published size, GPU days",
        },
        options=(
            Option("seed", 0, "of weights and tables"),
            Option("minutes", 0.0, "of wall-clock time; 0 takes the preset's"),
        ),
        run=_train,
    )
    importers: Mapping[str, Importer] = {
        "tabpfn-v1": Importer(
            summary="the authors' first release: a checkpoint (state dict, None, configuration)",
            options=(Option("heads", 0, "attention heads; 0 takes the configuration's, or 4"),),
            run=_import_v1,
        )
    }

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        heads, head_width = _cached(config)
        n = Tensor("n", "int64", ("B",))
        state = tuple(
            Tensor(f"{letter}{layer}", "float32", ("B", heads, "N", head_width))
            for layer in range(config["layers"])
            for letter in "kv"
        )
        return (
            Graph(
                name="encode_context",
                inputs=(
                    Tensor("x", "float32", ("B", "N", "F")),
                    Tensor("y", "int64", ("B", "N")),
                    n,
                ),
                outputs=(),
                writes=state,
            ),
            Graph(
                name="query",
                inputs=(Tensor("x", "float32", ("B", "M", "F")),),
                outputs=(Tensor("logits", "float32", ("B", "M", config["classes"])),),
                reads=(n, *state),
                rows="M",
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.tabpfn.model import TabPFN, TabPFNConfig  # noqa: PLC0415

        return TabPFN(TabPFNConfig(**config))

    def predictor(self, config: Config, weights: Arrays) -> TabularPredictor:
        from foretoken.models.tabpfn.predict import TabularPredictor  # noqa: PLC0415

        del weights
        return TabularPredictor(config)

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        make = _tables if graph == "encode_context" else _questions
        yield from make(config, np.random.default_rng(0))


def _cached(config: Config) -> tuple[int, int]:
    """Heads whose keys and values are kept, and their width."""
    return config["shared"] or config["heads"], config["width"] // config["heads"]


# Members, training rows (padded), test rows, columns: the least, the most, and what lies between.
_SIZES = ((1, 2, 1, 1), (4, 30, 7, 5), (3, 64, 1, 20), (2, 9, 33, 100), (8, 17, 3, 12))


def _rows(rng: np.random.Generator, B: int, rows: int, F: int) -> Iterator[Array]:
    """Ordinary rows, rows that are all alike, and rows far outside of what pipelines make."""
    x = rng.standard_normal((B, rows, F)).astype(np.float32)
    yield x
    if B == 4:
        yield np.repeat(x[:, :1], rows, axis=1)
        yield np.where(rng.random(x.shape) < 0.1, np.float32(1e4), x).astype(np.float32)


def _tables(config: Config, rng: np.random.Generator) -> Iterator[Arrays]:
    for B, N, _, F in _SIZES:
        n = rng.integers(1, N + 1, B)
        n[0], n[-1] = 1, N
        for x in _rows(rng, B, N, F):
            y = rng.integers(0, config["classes"], (B, N))
            yield {"x": x, "y": y, "n": n.astype(np.int64)}


def _questions(config: Config, rng: np.random.Generator) -> Iterator[Arrays]:
    heads, head_width = _cached(config)
    for B, N, M, F in _SIZES:
        n = rng.integers(1, N + 1, B)
        n[0], n[-1] = 1, N
        for x in _rows(rng, B, M, F):
            state = {
                f"{letter}{layer}": rng.standard_normal((B, heads, N, head_width), np.float32)
                for layer in range(config["layers"])
                for letter in "kv"
            }
            yield {"x": x, "n": n.astype(np.int64), **state}


FAMILY = TabPFNFamily()
