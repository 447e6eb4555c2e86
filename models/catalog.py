"""Finds families by folder: a package under ``models/`` that has a ``FAMILY`` is one.

So is a package of that kind under ``foretoken_families``, a namespace package (PEP 420) to which
anybody may add: whatever is installed or lies on the path there is found, and nothing is edited.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING

from foretoken.errors import InvalidInput, NotFound
from foretoken.models.artefact import DESCRIPTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from foretoken.models.contract import Family

_HOME, _FOREIGN = "foretoken.models", "foretoken_families"


@cache
def families() -> Mapping[str, Family]:
    """Every family, by name in alphabetical order.

    Raises:
        InvalidInput: if two packages bring a family of the same name.
    """
    found: dict[str, Family] = {}
    for package, one in _families(_HOME, *([_FOREIGN] if find_spec(_FOREIGN) else [])):
        if one.name in found:
            raise InvalidInput(f"{package} brings a family {one.name!r}, which is there already")
        found[one.name] = one
    return MappingProxyType(dict(sorted(found.items())))


def _families(*homes: str) -> Iterator[tuple[str, Family]]:
    for home in homes:
        for found in iter_modules(import_module(home).__path__, f"{home}."):
            if found.ispkg and hasattr(module := import_module(found.name), "FAMILY"):
                yield found.name, module.FAMILY


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
    """Artefact folders that came with this release.

    By family, ``models/<family>/weights``; ``weights-small`` beside it would be ``<family>-small``.
    """
    found: dict[str, Path] = {}
    for package, family in _families(_HOME):
        home = Path(str(import_module(package).__file__)).parent / "weights"
        if (home / DESCRIPTION).is_file():
            found[family.name] = home
        for variant in sorted(home.parent.glob(f"{home.name}-*/{DESCRIPTION}")):
            found[f"{family.name}{variant.parent.name.removeprefix(home.name)}"] = variant.parent
    return found
