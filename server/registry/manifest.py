"""A version's manifest: all it consists of, in a canonical form whose digest is its identity."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

from foretoken.errors import DataLoss, ForetokenError, InvalidInput
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.models.contract import Graph

__all__ = [
    "FileEntry",
    "Manifest",
    "Signature",
    "family_signature",
    "media_type",
    "signature_of",
]

FORMAT = 1
MEDIA_TYPE = "application/vnd.foretoken.manifest.v1+json"
_MEDIA_TYPES = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".onnx": "application/vnd.onnx",
    ".safetensors": "application/vnd.safetensors",
}

# What a model takes in and gives out, from its description; kept with the version.
Signature = Callable[[Artefact], Mapping[str, Any]]


@dataclass(frozen=True)
class FileEntry:
    """A file of a version: digest (``sha256:<hex>``), size in bytes, media type."""

    digest: str
    size: int
    media_type: str


@dataclass(frozen=True)
class Manifest:
    """What a version consists of.

    Args:
        description: of the artefact, see ``Artefact.description``.
        files: by flat name.
        signature: the family's graphs for this configuration, by name.
    """

    description: Mapping[str, Any]
    files: Mapping[str, FileEntry]
    signature: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical JSON: keys sorted, no white space, UTF-8, finite numbers only.

        Raises:
            InvalidInput: if the description holds what JSON cannot say.
        """
        said = {
            "format": FORMAT,
            "artefact": self.description,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
            "signature": self.signature,
        }
        try:
            text = json.dumps(
                said, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
            )
        except (TypeError, ValueError) as e:
            raise InvalidInput(f"the artefact's description is not plain JSON: {e}") from e
        return text.encode()

    @property
    def digest(self) -> str:
        """The version's identity."""
        return f"sha256:{hashlib.sha256(self.to_bytes()).hexdigest()}"

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """The inverse of ``to_bytes``.

        Raises:
            DataLoss: if it is not a manifest that this release reads.
        """
        try:
            said = json.loads(data)
            if said["format"] != FORMAT:
                raise DataLoss(
                    f"manifest of format {said['format']!r}; this release reads {FORMAT}"
                )
            files = {name: FileEntry(**entry) for name, entry in said["files"].items()}
            return cls(said["artefact"], files, said["signature"])
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise DataLoss(f"not a manifest: {e!r}") from e

    def artefact(self, files: Mapping[str, Path]) -> Artefact:
        """The artefact that this describes, its files lying at ``files``."""
        return Artefact.described(self.description, files)


def media_type(file: str) -> str:
    """Media type of an artefact's file, by its ending.

    Raises:
        InvalidInput: for an ending that no artefact has.
    """
    try:
        return _MEDIA_TYPES[PurePath(file).suffix]
    except KeyError:
        accepted = ", ".join(_MEDIA_TYPES)
        raise InvalidInput(
            f"{file}: an artefact holds files with the endings {accepted} only; convert foreign "
            "formats with `foretoken models import`"
        ) from None


def family_signature(artefact: Artefact) -> dict[str, Any]:
    """The graphs of the artefact's family at its configuration.

    Raises:
        NotFound: if this release has no such family.
        InvalidInput: if the family does not accept the configuration.
    """
    family = catalog.family(artefact.family)
    try:
        graphs = family.graphs(artefact.config)
    except ForetokenError:
        raise
    except (AttributeError, LookupError, TypeError, ValueError) as e:
        raise InvalidInput(
            f"family {artefact.family!r} cannot read the configuration {artefact.config}: {e!r}"
        ) from e
    return signature_of(graphs)


def signature_of(graphs: Iterable[Graph]) -> dict[str, Any]:
    """Graphs by name, as JSON can say them."""
    return {graph.name: _sayable(asdict(graph)) for graph in graphs}


def _sayable(value: Any) -> Any:
    """``value`` with infinite and undefined numbers, which JSON lacks, as strings."""
    if isinstance(value, Mapping):
        return {key: _sayable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_sayable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
