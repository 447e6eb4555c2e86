"""Registers the trained models that came with this release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from foretoken import __version__
from foretoken.models import catalog
from foretoken.models.artefact import Artefact
from foretoken.server.registry.records import Version
from foretoken.server.registry.registry import Registry

__all__ = ["bundled_name", "register_bundled"]


def bundled_name(artefact: Artefact) -> str:
    """The name of a bundled model: what its training record calls it, else that of its family."""
    return str(artefact.training.get("name", artefact.family))


def register_bundled(
    registry: Registry, folders: Mapping[str, Path] | None = None, release: str = __version__
) -> list[Version]:
    """Register each bundled artefact that this data dir does not have yet.

    A model's champion moves to the new version only where it still points at a bundled one.

    Args:
        registry: of the data dir.
        folders: artefact folders by family; the default is those of the catalog.
        release: that brings them.

    Returns:
        The bundled version of each family, new or known, READY.

    Raises:
        InvalidInput: if a folder is not an artefact.
    """
    found = catalog.bundled() if folders is None else folders
    artefacts = [Artefact.read(folder) for folder in found.values()]
    return [registry.register_bundled(bundled_name(a), a, release) for a in artefacts]
