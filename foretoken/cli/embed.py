"""``foretoken embed``."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli.output import show, track
from foretoken.cli.registry import DataDir, Json
from foretoken.cli.remote import Server, client_of
from foretoken.cli.texts import Passage, Texts, texts_of
from foretoken.cli.vectors import expect_vectors, writing_vectors
from foretoken.embeddings import parted
from foretoken.errors import InvalidInput
from foretoken.estimators import Embedder
from foretoken.estimators.text import MODEL

CHUNK = 256  # texts of one message at most


def embed(
    file: Annotated[
        str,
        typer.Argument(
            help="Text with a text a line; CSV, Parquet or JSON lines with --column; a folder of "
            "documents, whose paragraphs are texts; - reads lines from standard input."
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Write the vectors: .npy, or .parquet with the texts beside them.")
    ],
    model: Annotated[str, typer.Option(help="NAME, NAME:VERSION or ALIAS@NAME.")] = MODEL,
    column: Annotated[
        str | None, typer.Option(help="Column of a table, or key of objects, with the texts.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Of the vectors, if the model knows others.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Put before each text.")] = None,
    truncate: Annotated[
        str, typer.Option(help="end cuts what is too long and says so; error refuses it.")
    ] = "end",
    data_dir: DataDir = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """Make vectors of texts that are close where texts say much the same."""
    expect_vectors(out)
    embedder = Embedder(model, client_of(server, data_dir), data_dir=data_dir)
    read = texts_of(file, column)
    sent = _Sent()
    found = embedder.stream(_chunks(read, prompt or "", sent), dimensions, prompt, truncate)
    total = None if read.total is None else math.ceil(read.total / CHUNK)
    about = {"prompt": prompt} if prompt else {}
    if dimensions is not None:
        about["dimensions"] = str(dimensions)
    count = cut = width = 0
    with writing_vectors(out, about, sourced=read.sourced) as write:
        try:
            for part in track(found, "embedding", total):
                about["model"], width = part.ref, part.vectors.shape[1]
                write(part.vectors, sent.waiting.popleft())
                count, cut = count + len(part), cut + int((part.cut > 0).sum())
        except InvalidInput as e:
            if e is sent.failed:
                raise
            where = f", of the texts from {count} on" if count else ""
            raise InvalidInput(f"{read.title}{where}: {e}") from e
        if not count:
            raise InvalidInput(f"{read.title} has no texts")
    if cut:
        typer.echo(f"note: the ends of {cut} texts were cut off: they are too long", err=True)
    show(
        f"Wrote {count} vectors of {width} dimensions to {out}, by {about['model']}.",
        as_json=as_json,
        texts=count,
        dimensions=width,
        cut=cut,
        model=about["model"],
        out=str(out),
    )


@dataclass
class _Sent:
    """Texts whose vectors are not there yet, and why no more can be read: that names the line."""

    waiting: deque[list[Passage]] = field(default_factory=deque)
    failed: InvalidInput | None = None


def _chunks(read: Texts, prompt: str, sent: _Sent) -> Iterator[list[str]]:
    """Texts of one message after the other."""

    def size(text: str) -> int:
        return len(text.encode("utf-8", "replace"))  # what is no Unicode is refused elsewhere

    before = size(prompt)
    try:
        for part in parted(read.passages, lambda each: size(each.text) + before, CHUNK):
            sent.waiting.append(part)
            yield [passage.text for passage in part]
    except InvalidInput as e:
        sent.failed = e
        raise
