"""A trained model as a folder: ``artefact.json`` beside safetensors, ONNX graphs and a card.

Training writes one, exporting adds graphs to it, the registry takes it in and gives it back as
paths of its own; nothing else is ever loaded, and never a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foretoken.errors import InvalidInput

DESCRIPTION = "artefact.json"
WEIGHTS = "model.safetensors"
FORMAT = 1
_SUFFIXES = frozenset({".safetensors", ".onnx", ".json", ".md"})


def graph_file(graph: str) -> str:
    """Name of the file that holds ``graph`` in ONNX form, without weights."""
    return f"{graph}.onnx"


@dataclass(frozen=True)
class Artefact:
    """A model's description and where its files lie.

    Args:
        family: name of the family under ``models/``.
        config: the family's hyper-parameters.
        files: file name -> where it lies; names are flat.
        precision: of the weights and arithmetic: "float32", "int8", "bfloat16", ...
        training: data, recipe, seed, steps and held-out figures.
        export: what the exporter measured, by graph.
        serving: per-model serving options.
    """

    family: str
    config: Mapping[str, Any]
    files: Mapping[str, Path]
    precision: str = "float32"
    training: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)
    serving: Mapping[str, Any] = field(default_factory=dict)

    def description(self) -> dict[str, Any]:
        """What ``artefact.json`` says: everything but the files."""
        said = asdict(self)
        del said["files"]
        return {"format": FORMAT, **said}

    @classmethod
    def described(cls, said: Mapping[str, Any], files: Mapping[str, Path]) -> Artefact:
        """The inverse of ``description``.

        Raises:
            InvalidInput: if ``said`` is of a newer format or lacks or adds a field.
        """
        if said.get("format") != FORMAT:
            raise InvalidInput(
                f"{DESCRIPTION} has format {said.get('format')!r}; this release reads {FORMAT}"
            )
        try:
            return cls(files=files, **{k: v for k, v in said.items() if k != "format"})
        except TypeError as e:
            raise InvalidInput(f"{DESCRIPTION} is not an artefact's description: {e}") from e

    @classmethod
    def read(cls, folder: Path) -> Artefact:
        """Read an artefact folder.

        Raises:
            InvalidInput: if it has no readable description, no weights, or a file of a kind that
                is never loaded (pickles, scripts, links).
        """
        if not folder.is_dir():
            raise InvalidInput(f"{folder} is not a folder; register a folder with {DESCRIPTION}")
        files = {p.name: p for p in sorted(folder.iterdir()) if not p.name.startswith(".")}
        for path in files.values():
            if path.is_symlink() or not path.is_file() or path.suffix not in _SUFFIXES:
                accepted = ", ".join(sorted(_SUFFIXES))
                raise InvalidInput(
                    f"{path}: an artefact holds plain files with the endings {accepted} only; "
                    "convert foreign formats with `foretoken models import`"
                )
        if missing := {DESCRIPTION, WEIGHTS} - set(files):
            raise InvalidInput(f"{folder} lacks {' and '.join(sorted(missing))}")
        try:
            said = json.loads(files.pop(DESCRIPTION).read_text("utf-8"))
        except ValueError as e:
            raise InvalidInput(f"{folder / DESCRIPTION} is not JSON: {e}") from e
        if not isinstance(said, dict):
            raise InvalidInput(f"{folder / DESCRIPTION} must hold a JSON object")
        return cls.described(said, files)

    def write(self, folder: Path) -> None:
        """Write the description into ``folder``, which holds the files."""
        text = json.dumps(self.description(), indent=1, sort_keys=True, ensure_ascii=False)
        (folder / DESCRIPTION).write_text(text + "\n", "utf-8")
