"""An artefact folder as the messages that register it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from foretoken.client.operations import message
from foretoken.errors import ForetokenError, InvalidInput, Unavailable
from foretoken.proto import registry

__all__ = ["Progress", "upload"]

DESCRIPTION = "artefact.json"
CHUNK = 1 << 20  # bytes of a message
FORMAT = 1

Progress = Callable[[int, int], None]  # bytes sent so far, and in all


def upload(
    name: str,
    folder: Path,
    tags: Mapping[str, str],
    parent: str | None,
    relation: str | None,
    progress: Progress | None,
) -> Iterator[registry.RegisterRequest]:
    """The messages that register ``folder`` under ``name``; files are read as they are sent.

    Raises:
        InvalidInput: if it is not an artefact folder.
        Unavailable: if a file cannot be read, or changes meanwhile.
    """
    said, files = _described(folder)
    try:
        listed = [_listed(path) for path in files]
        opening = message(
            registry.RegisterOpen,
            name=name,
            family=said.get("family"),
            config=_text(said.get("config")),
            precision=said.get("precision"),
            training=_text(said.get("training")),
            export=_text(said.get("export")),
            serving=_text(said.get("serving")),
            tags=dict(tags),
            files=listed,
            parent=parent,
            relation=relation,
        )
        yield registry.RegisterRequest(open=opening)
        total, sent = sum(file.size for file in listed), 0
        for path in files:
            for chunk in _chunks(path):
                yield registry.RegisterRequest(chunk=chunk)
                sent += len(chunk)
                if progress is not None:
                    progress(sent, total)
    except ForetokenError:
        raise
    except OSError as e:
        raise Unavailable(f"cannot read {e.filename or folder}: {e.strerror or e}") from e


def _described(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder; register a folder with {DESCRIPTION}")
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if bad := [path for path in paths if path.is_symlink() or not path.is_file()]:
        raise InvalidInput(f"{bad[0]}: an artefact holds plain files only")
    if folder / DESCRIPTION not in paths:
        raise InvalidInput(f"{folder} lacks {DESCRIPTION}")
    paths.remove(folder / DESCRIPTION)
    try:
        said = json.loads((folder / DESCRIPTION).read_text("utf-8"))
    except ValueError as e:
        raise InvalidInput(f"{folder / DESCRIPTION} is not JSON: {e}") from e
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise InvalidInput(f"{folder / DESCRIPTION} is not a description of format {FORMAT}")
    return said, paths


def _listed(path: Path) -> registry.Upload:
    digest = hashlib.sha256()
    size = 0
    for chunk in _chunks(path):
        digest.update(chunk)
        size += len(chunk)
    return registry.Upload(name=path.name, size=size, digest=f"sha256:{digest.hexdigest()}")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as f:
        while chunk := f.read(CHUNK):
            yield chunk


def _text(said: Any) -> str | None:
    return None if said is None else json.dumps(said, ensure_ascii=False, allow_nan=False)
