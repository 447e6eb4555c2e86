"""The models in the box, by the names under which they are registered."""

from __future__ import annotations

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.server.registry.bundled import bundled_name


def names() -> list[str]:
    """In alphabetical order."""
    return sorted(bundled_name(Artefact.read(folder)) for folder in bundled().values())
