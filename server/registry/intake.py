"""What the registry refuses to take in: foreign files, pickles, damaged weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open

from foretoken.errors import InvalidInput
from foretoken.models.artefact import DESCRIPTION, WEIGHTS
from foretoken.server.registry.manifest import media_type
from foretoken.server.registry.names import check_file_name

__all__ = ["check_files"]

# How files made by ``torch.save`` and ``pickle`` (protocol 2 and later) begin. A safetensors file
# may begin so too, by the length of its header: it is looked at only once it has failed to parse.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def check_files(files: Mapping[str, Path], *, weightless: bool = False) -> None:
    """Check an artefact's files before anything is copied.

    Args:
        files: by the name they are to have.
        weightless: whether the weights may hold no tensors, as those of a model without graphs.

    Raises:
        InvalidInput: if weights are missing or cut short, or a file is not what its name says, a
            pickle, a link, or of a kind that is never loaded.
    """
    if WEIGHTS not in files:
        raise InvalidInput(f"the artefact has no {WEIGHTS}; train or import the model first")
    for name, path in files.items():
        check_file_name(name)
        media_type(name)
        if name == DESCRIPTION:
            raise InvalidInput(f"{DESCRIPTION} is kept in the manifest; leave it out of the files")
        if path.is_symlink() or not path.is_file():
            raise InvalidInput(f"{path}: not a plain file; copy it into the artefact's folder")
        _check_content(name, path, weightless=weightless)


def _check_content(name: str, path: Path, *, weightless: bool) -> None:
    if name.endswith(".safetensors"):
        if not _tensors(name, path) and not weightless:
            raise InvalidInput(f"{name}: holds no tensors; save the model's weights in it")
        return
    _refuse_pickle(name, path)
    if name.endswith(".json"):
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError) as e:
            raise InvalidInput(f"{name}: not JSON ({e}); write it again") from e


def _tensors(name: str, path: Path) -> list[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except SafetensorError as e:
        _refuse_pickle(name, path)
        raise InvalidInput(
            f"{name}: not a whole safetensors file ({e}); it may have been cut short: copy or save "
            "it again"
        ) from e


def _refuse_pickle(name: str, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(_PICKLES):
        raise InvalidInput(
            f"{name}: its content is a pickle, which is never loaded; convert it with "
            "`foretoken models import`"
        )
