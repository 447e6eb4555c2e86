"""Texts that are most like a query, among those of a file of vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foretoken.cli.output import show_table
from foretoken.cli.remote import Remote, client_of
from foretoken.cli.vectors import Kept, kept
from foretoken.errors import InvalidInput
from foretoken.estimators import Embedder

__all__ = ["nearest"]

SHOWN = 160  # characters of a text in the table


def nearest(
    file: Path,
    query: str,
    top: int,
    prompt: str | None,
    data_dir: Path | None,
    server: Remote | None,
    *,
    as_json: bool,
) -> None:
    """Show the texts of a file of vectors that are most like a query; see ``search``."""
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
