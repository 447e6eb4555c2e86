"""Static encoders: a text's vector is the weighted mean of its tokens' own, kept in a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.models.contract import Arrays, Config, Graph, Kind, Predictor, Tensor
from foretoken.models.recipes import Importer, Option, Progress, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn


def _train(
    preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None
) -> None:
    from foretoken.models.static_encoder.distil import run  # noqa: PLC0415

    run(preset, options, out, progress)


class StaticEncoderFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "static_encoder"
    task = Task.TEXT
    kind = Kind.STATELESS
    summary = "Embeds texts by a table of their tokens' vectors, distilled from a text encoder"
    source = "Arora et al. 2017, A Simple but Tough-to-Beat Baseline for Sentence Embeddings"
    small: Mapping[str, Any] = {
        "vocab": 259,
        "width": 16,
        "max_tokens": 64,
        "dimensions": [8],
        "prompts": {},
        "default_prompt": None,
        "lowercase": False,
        "tokenizer": 0,
    }
    recipe = Recipe(
        presets={
            "small": "256 dimensions; minutes on one CPU core; static-minilm",
            "wide": "as many dimensions as the teacher has; as long",
        },
        options=(
            Option("teacher", "", "Hugging Face folder of the text encoder to learn from"),
            Option("name", "", "what the model is called"),
            Option("texts", 100_000, "texts of random tokens to learn from; 0: tokens alone"),
        ),
        run=_train,
        default="small",
    )
    importers: Mapping[str, Importer] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        return (
            Graph(
                name="forward",
                inputs=(Tensor("ids", "int64", ("B", "T")), Tensor("length", "int64", ("B",))),
                outputs=(Tensor("embedding", "float32", ("B", config["width"])),),
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.static_encoder.model import StaticEncoder  # noqa: PLC0415

        return StaticEncoder(config["vocab"], config["width"], config["tokenizer"])

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.static_encoder.predict import predictor  # noqa: PLC0415

        return predictor(config, weights)

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        del graph
        rng = np.random.default_rng(0)
        vocab = config["vocab"]
        for rows, T in ((4, 32), (1, 8), (1, 1), (2, 7), (3, 500)):
            length = rng.integers(0, T + 1, rows)
            length[0] = T
            yield {"ids": rng.integers(0, vocab, (rows, T)), "length": length}
        yield {"ids": np.full((2, 40), vocab - 1), "length": np.array([40, 0])}


FAMILY = StaticEncoderFamily()
