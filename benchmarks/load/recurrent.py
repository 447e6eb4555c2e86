"""A small recurrent model with random weights, or a bundled one, in a data dir of its own."""

from __future__ import annotations

from pathlib import Path

from foretoken.models.catalog import bundled
from foretoken.server.registry.bundled import register_bundled
from foretoken.server.registry.registry import Registry
from tests.published import Published

__all__ = ["registered"]


def registered(home: Path, model: str) -> None:
    """Make a data dir with a bundled model, or with a toy by that name.

    The toys must be where the catalog finds them: see ``tests.toy_families``.
    """
    with Registry.open(home) as registry:
        if model in bundled():
            register_bundled(registry)
        else:
            registry.register(model, Published(lambda _: _made(home.parent))("recurrent"))


def _made(parent: Path) -> Path:
    folder = parent / "toy"
    folder.mkdir()
    return folder
