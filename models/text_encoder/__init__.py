"""Text encoders: vectors of texts, from BERTs and from decoders read both ways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foretoken.models.contract import Arrays, Config, Graph, Kind, Predictor, Tensor
from foretoken.models.recipes import Importer, Option, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn


def _import(source: Path, options: Mapping[str, Any], out: Path) -> None:
    from foretoken.models.text_encoder.huggingface import convert  # noqa: PLC0415

    convert(source, out, **options)


class TextEncoderFamily:
    """See ``foretoken.models.contract.Family``."""

    name = "text_encoder"
    task = Task.TEXT
    kind = Kind.STATELESS
    summary = "Embeds texts by BERTs and by decoders read both ways, from Hugging Face folders"
    source = (
        "Reimers & Gurevych 2019, Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks"
    )
    small: Mapping[str, Any] = {
        "kind": "bert",
        "shape": {
            "vocab": 259,
            "width": 16,
            "layers": 2,
            "heads": 2,
            "mlp": 32,
            "positions": 48,
        },
        "pooling": "mean",
        "max_tokens": 48,
        "dimensions": [8],
        "prompts": {"query": "query: "},
        "default_prompt": None,
        "lowercase": False,
        "tokenizer": 0,
    }
    recipe: Recipe | None = None
    importers: Mapping[str, Importer] = {
        "hf": Importer(
            summary="a Hugging Face folder of an encoder, with or without sentence-transformers'",
            options=(
                Option("dimensions", "", "lengths to which vectors may be cut, as in 512,256"),
                Option("max_tokens", 0, "longest input; 0 takes the folder's"),
                Option(
                    "pooling",
                    "folder",
                    "of tokens, where the folder does not say",
                    ("folder", "mean", "cls", "last"),
                ),
                Option(
                    "attention",
                    "folder",
                    "of decoders: both ways unless config.json says is_causal",
                    ("folder", "bidirectional", "causal"),
                ),
            ),
            run=_import,
        )
    }

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        return (
            Graph(
                name="forward",
                inputs=(Tensor("ids", "int64", ("B", "T")), Tensor("length", "int64", ("B",))),
                outputs=(Tensor("embedding", "float32", ("B", config["shape"]["width"])),),
            ),
        )

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.text_encoder.model import TextEncoder  # noqa: PLC0415

        return TextEncoder.of(config)

    def predictor(self, config: Config, weights: Arrays) -> Predictor:
        from foretoken.models.text_encoder.predict import predictor  # noqa: PLC0415

        return predictor(config, weights)

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        del graph
        rng = np.random.default_rng(0)
        vocab, longest = config["shape"]["vocab"], config["max_tokens"]
        # The first are typical: what runs of them cost is what is expected of the first requests.
        for rows, T in ((4, 32), (1, 8), (1, 1), (2, 7), (5, 3), (1, 128), (3, 33)):
            T = min(T, longest)  # noqa: PLW2901
            length = rng.integers(0, T + 1, rows)  # none at all is a length, too
            length[0] = T
            yield {"ids": rng.integers(0, vocab, (rows, T)), "length": length}
        # One token over and over, and tokens at both ends of the vocabulary.
        same = np.full((2, min(longest, 40)), vocab - 1)
        yield {"ids": same, "length": np.array([same.shape[1], 1])}
        yield {"ids": np.array([[0, vocab - 1], [vocab - 1, 0]]), "length": np.array([2, 0])}


FAMILY = TextEncoderFamily()
