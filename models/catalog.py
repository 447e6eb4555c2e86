"""Finds families by folder: a package under ``models/`` that has a ``FAMILY`` is one."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING

from foretoken.errors import NotFound
from foretoken.models.artefact import DESCRIPTION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foretoken.models.contract import Family

_HOME = "foretoken.models"


@cache
def families() -> Mapping[str, Family]:
    """Every family, by name in alphabetical order."""
    packages = (m.name for m in iter_modules(import_module(_HOME).__path__) if m.ispkg)
    modules = (import_module(f"{_HOME}.{name}") for name in sorted(packages))
    found = {m.FAMILY.name: m.FAMILY for m in modules if hasattr(m, "FAMILY")}
    return MappingProxyType(found)


def family(name: str) -> Family:
    """The family called ``name``.

    Raises:
        NotFound: if there is none; the message lists those there are.
    """
    try:
        return families()[name]
    except KeyError:
        raise NotFound(f"no model family {name!r}; there are {', '.join(families())}") from None


def bundled() -> Mapping[str, Path]:
    """Artefact folders that came with this release, by family: ``models/<family>/weights``."""
    homes = {
        name: Path(str(import_module(f"{_HOME}.{name}").__file__)).parent / "weights"
        for name in families()
    }
    return {name: home for name, home in homes.items() if (home / DESCRIPTION).is_file()}
