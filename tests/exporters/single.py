"""Families of one graph, made on the spot from a torch module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Arrays, Config, Graph, Kind, Tensor
from foretoken.models.tasks import Task


class Single:
    """A module's ``forward`` over x float32 [B, N, 8], with the output ``y``."""

    name = "single"
    task = Task.SEQUENCE
    kind = Kind.STATELESS
    summary = "One graph"
    source = "None, 2000"
    recipe = None

    def __init__(
        self,
        module: Callable[[], nn.Module],
        y: tuple[int | str, ...] = ("B", "N", 8),
        dtype: str = "float32",
    ) -> None:
        self._module, self._y, self._dtype = module, y, dtype
        self.small: dict[str, Any] = {}
        self.importers: dict[str, Any] = {}

    def graphs(self, config: Config) -> tuple[Graph, ...]:
        x = Tensor("x", "float32", ("B", "N", 8))
        return (Graph("forward", (x,), (Tensor("y", self._dtype, self._y),)),)

    def module(self, config: Config) -> nn.Module:
        torch.manual_seed(0)
        return self._module()

    def predictor(self, config: Config, weights: Arrays) -> Any:
        raise AssertionError("no request is made of it")

    def examples(self, config: Config, graph: str) -> Iterator[Arrays]:
        rng = np.random.default_rng(0)
        for shape in ((1, 1, 8), (2, 3, 8), (3, 1, 8), (1, 9, 8), (4, 2, 8)):
            yield {"x": rng.standard_normal(shape).astype(np.float32)}


def saved(family: Single, folder: Path, dtype: torch.dtype = torch.float32) -> Artefact:
    """The family's own initial weights as an artefact."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.clone().to(dtype) for k, v in family.module({}).state_dict().items()}
    save_file(state, folder / WEIGHTS)
    return Artefact(family.name, {}, {WEIGHTS: folder / WEIGHTS})
