"""Families with random weights, exported and proven, for tests that need a version to run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_model

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import families
from foretoken.models.contract import Family
from foretoken.server.publish import publish
from tests.toys import TOYS

SUBJECTS = MappingProxyType({**families(), **TOYS})


def randomised(family: Family, folder: Path) -> Artefact:
    """An artefact of ``family`` at its small configuration, not exported.

    Every parameter is moved, since some start at zero and would hide what they multiply.
    """
    torch.manual_seed(0)
    module = family.module(family.small)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    save_model(module, str(folder / WEIGHTS))
    return Artefact(family.name, dict(family.small), {WEIGHTS: folder / WEIGHTS})


class Published:
    """Publishes each family once, when it is first asked for."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self._folder = folder
        self._made: dict[str, Artefact] = {}

    def __call__(self, name: str) -> Artefact:
        if name not in self._made:
            home, family = self._folder(name), SUBJECTS[name]
            self._made[name] = publish(randomised(family, home), home / "published", family)
        return self._made[name]
