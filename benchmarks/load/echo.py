"""Artefacts of the echo: ``echo`` runs no graph, ``echo-graph`` one that multiplies by one."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import family
from foretoken.server.publish import publish, written

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


def artefacts(folder: Path) -> dict[str, Path]:
    """Make both under ``folder``; their folders by model name."""
    if str(PLUGINS) not in sys.path:
        sys.path.append(str(PLUGINS))
    echo = family("echo")
    weights = folder / WEIGHTS
    save_file(echo.module(echo.small).state_dict(), weights)
    with_graph = Artefact("echo", dict(echo.small), {WEIGHTS: weights})
    without = Artefact("echo", {**echo.small, "graph": False}, {WEIGHTS: weights})
    publish(with_graph, folder / "echo-graph")
    written(without, folder / "echo")
    return {name: folder / name for name in ("echo", "echo-graph")}
