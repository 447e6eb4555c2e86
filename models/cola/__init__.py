"""CoLa: decoders that choose their depth, by a chain of layers for each request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foretoken.models.recipes import Importer, Option, Progress, Recipe

__all__ = ["IMPORTERS", "RECIPE"]


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
