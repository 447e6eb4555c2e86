"""What the laws are about: families with an artefact, loaded by a runtime."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from foretoken.models.artefact import Artefact
from foretoken.models.contract import Arrays, Family, Graph, Kind
from foretoken.server.runtimes.base import Executable
from tests.published import SUBJECTS


@dataclass(frozen=True)
class Subject:
    """A family with a published artefact, loaded by a runtime."""

    family: Family
    artefact: Artefact
    executable: Executable

    @property
    def graphs(self) -> dict[str, Graph]:
        return {g.name: g for g in self.family.graphs(self.artefact.config)}

    def examples(self, graph: str) -> list[Arrays]:
        return list(self.family.examples(self.artefact.config, graph))


def subjects(kind: Kind | None = None):
    """Parametrises a test by the families of a kind, or by all."""
    names = [name for name, family in SUBJECTS.items() if kind in (None, family.kind)]
    return pytest.mark.parametrize("name", names)
