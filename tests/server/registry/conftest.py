"""Small artefacts of a toy family, and registries over temporary data dirs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Graph, Tensor
from foretoken.server.registry.manifest import signature_of
from foretoken.server.registry.registry import Registry

MakeArtefact = Callable[..., Artefact]


def toy_signature(artefact: Artefact) -> dict[str, Any]:
    """Stands in for a family's graphs, so that the registry is tested without any family."""
    width = artefact.config["width"]
    x = Tensor("x", "float32", ("B", width), pad=-math.inf)
    return signature_of([Graph("forward", (x,), (Tensor("y", "float32", ("B",)),))])


def write_artefact(folder: Path, value: float = 0.0, **description) -> Artefact:
    """A folder with two small tensors that hold ``value``."""
    folder.mkdir(parents=True)
    weights = {"w": np.full((4, 3), value, np.float32), "b": np.arange(3, dtype=np.float32)}
    save_file(weights, folder / WEIGHTS)
    (folder / "card.md").write_text(f"# Toy {value}\n", "utf-8")
    (folder / "labels.json").write_text('["a", "b"]', "utf-8")
    (folder / "forward.onnx").write_bytes(b"\x08\x0a" + bytes(64))
    said = {"family": "toy", "config": {"width": 3}, "serving": {"threads": 2}, **description}
    Artefact(files={}, **said).write(folder)
    return Artefact.read(folder)


@pytest.fixture
def make_artefact(tmp_path: Path) -> MakeArtefact:
    made = iter(range(1_000_000))

    def make(value: float | None = None, **description) -> Artefact:
        n = next(made)
        return write_artefact(
            tmp_path / "artefacts" / str(n), float(n) if value is None else value, **description
        )

    return make


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def registry(data_dir: Path) -> Iterator[Registry]:
    with Registry.open(data_dir, signature=toy_signature) as registry:
        yield registry
