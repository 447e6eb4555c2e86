"""What the registry's commands share: their options, and how they open the data dir."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

if TYPE_CHECKING:
    from foretoken.server.registry.registry import Registry

__all__ = ["Actor", "DataDir", "Json", "actor_or_user", "data_dir_of", "open_registry", "readable"]

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where the catalogue and the blobs lie; the default is the server's.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Actor = Annotated[
    str | None,
    typer.Option(
        help="Who does this, for the history; the default is the user.", show_default=False
    ),
]


def data_dir_of(given: Path | None) -> Path:
    """The data dir of the option, else of the settings."""
    from foretoken.server.settings import load_settings  # noqa: PLC0415

    return load_settings(data_dir=given).data_dir


@contextmanager
def open_registry(given: Path | None) -> Iterator[Registry]:
    """The registry of the data dir, made when missing, with this release's bundled models in it."""
    from foretoken.server.registry.bundled import register_bundled  # noqa: PLC0415
    from foretoken.server.registry.registry import Registry  # noqa: PLC0415

    with Registry.open(data_dir_of(given)) as registry:
        register_bundled(registry)
        yield registry


def actor_or_user(given: str | None) -> str:
    """Who acts: as given, else the user of this process."""
    if given:
        return given
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"  # a container's user may have no name


def readable(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record for people: times to the second, sizes with units, targets in words."""
    said = dict(record)
    for name in said.keys() & {"created", "at"}:
        said[name] = said[name][:19].replace("T", " ")
    for name in said.keys() & {"size", "bytes"}:
        said[name] = decimal(said[name])
    for name in said.keys() & {"target", "before", "after"}:
        said[name] = _target(said[name])
    return said


def _target(target: Mapping[str, Any] | None) -> str | None:
    if target is None:
        return None
    canary = target["canary"]
    if canary is None:
        return str(target["version"])
    return f"{target['version']}, {canary['percent']:g}% to {canary['version']}"
