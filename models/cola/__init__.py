"""CoLa: decoders that choose their depth, by a chain of layers for each request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretoken.models.contract import Arrays, Config, Graph, Kind
from foretoken.models.recipes import Importer, Option, Progress, Recipe
from foretoken.models.tasks import Task

if TYPE_CHECKING:
    from torch import nn

    from foretoken.models.cola.predict import ColaPredictor


def _import(source: Path, options: Mapping[str, Any], out: Path) -> None:
    from foretoken.models.cola.huggingface import convert  # noqa: PLC0415

    convert(source, out, **options)


def _train(
    preset: str, options: Mapping[str, Any], out: Path, progress: Progress | None = None
) -> None:
    from foretoken.models.cola.train import train_cola  # noqa: PLC0415

    train_cola(
        preset,
        out=out,
        arm=options["arm"],
        seed=options["seed"],
        minutes=options["minutes"] or None,
        compiled=options["compile"] == "yes",
        progress=progress,
    )


RECIPE = Recipe(
    presets={
        "tiny": "sums of two numbers; one CPU core, four minutes",
        "small": "1.6 M parameters, all kinds of problems; two CPU cores, an hour",
        "base": "7.9 M parameters, all kinds of problems; one large GPU, minutes",
    },
    options=(
        Option(
            "arm",
            "plain",
            "whether layers are skipped and repeated in half of the steps",
            ("plain", "loops"),
        ),
        Option("minutes", 0.0, "of wall-clock time; 0 takes the preset's"),
        Option("seed", 0, "of weights, problems and chains"),
        Option("compile", "no", "whether blocks run through torch.compile", ("no", "yes")),
    ),
    run=_train,
    default="small",
)

IMPORTERS: Mapping[str, Importer] = {
    "hf": Importer(
        summary="a Hugging Face folder of a Llama or Qwen2 that generates text",
        options=(Option("max_tokens", 0, "prompt and answer together; 0 takes the folder's"),),
        run=_import,
    )
}


class ColaFamily:
    """See ``foretoken.models.contract.Family``; its module is ``generation.Layered``."""

    name = "cola"
    task = Task.GENERATION
    kind = Kind.GENERATIVE
    summary = "Generates text by decoders that skip and repeat layers, a chain for each request"
    source = (
        "Li et al. 2025, Skip a Layer or Loop it? Test-Time Depth Adaptation of Pretrained LLMs"
    )
    small: Mapping[str, Any] = {
        "shape": {
            "vocab": 12,
            "width": 16,
            "layers": 3,
            "heads": 4,
            "kv_heads": 2,
            "head_width": 4,
            "mlp": 24,
        },
        "num_layers": 3,
        "tied": False,
        "positions": 64,
        "tokenizer": 0,
        "generation": {"ends": [], "sample": False},
        "chat": None,
    }
    recipe: Recipe | None = RECIPE
    importers = IMPORTERS

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        del config
        return ()  # chains differ from request to request: layers run one by one

    def module(self, config: Config) -> nn.Module:
        from foretoken.models.cola.model import ColaConfig, ColaModel  # noqa: PLC0415

        return ColaModel(ColaConfig.of(config))

    def predictor(self, config: Config, weights: Arrays) -> ColaPredictor:
        from foretoken.models.cola.predict import ColaPredictor  # noqa: PLC0415

        return ColaPredictor(config, weights)

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        del config, graph
        yield from ()


FAMILY = ColaFamily()
