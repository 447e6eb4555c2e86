"""``foretoken search``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from foretoken.cli.output import show_table
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server, client_of
from foretoken.cli.vectors import Kept, kept
from foretoken.errors import InvalidInput
from foretoken.estimators import Embedder

SHOWN = 160  # characters of a text in the table


def search(
    file: Annotated[Path, typer.Argument(help="Parquet that `foretoken embed` wrote.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    top: Annotated[int, typer.Option(min=1, help="How many texts to show.")] = 5,
    prompt: Annotated[
        str | None, typer.Option(help="Put before the query, if the model expects one there.")
    ] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Find the texts that are most like a query, by the cosine of their vectors.

    The query is embedded by the version that has made the file.
    """
    texts = kept(file)
    if (model := texts.about.get("model")) is None:
        raise InvalidInput(f"{file} does not say which model has made it; embed the texts again")
    said = texts.about.get("dimensions")
    embedder = Embedder(model, client_of(server, data_dir), data_dir=data_dir)
    sought = embedder.embed([query], int(said) if said else None, prompt)[0]
    rows = _nearest(file, texts, sought, top)
    if not as_json:
        rows = [{**row, "text": _short(row["text"])} for row in rows]
    title = f"{len(rows)} of {texts.rows} texts, by {model}"
    show_table(rows, title=title, as_json=as_json)


def _nearest(
    file: Path, texts: Kept, sought: NDArray[np.float32], top: int
) -> list[dict[str, Any]]:
    """The texts of the largest cosines, the largest first; of equal ones, those that come first."""
    best: list[dict[str, Any]] = []
    for vectors, columns in texts.parts:
        if vectors.shape[1] != len(sought):
            raise InvalidInput(
                f"{file} has vectors of {vectors.shape[1]} dimensions, and its model makes "
                f"{len(sought)} now; embed the texts again"
            )
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(sought)
        scores = vectors @ sought / np.maximum(lengths, 1e-12)
        for i in np.argsort(-scores, kind="stable")[:top]:
            row = {"score": float(scores[i]), **{name: told[i] for name, told in columns.items()}}
            best.append(row)
        best = sorted(best, key=lambda row: -row["score"])[:top]
    return best


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
