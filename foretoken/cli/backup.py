"""``foretoken backup`` and ``foretoken restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli.output import progress, show_record
from foretoken.cli.registry import DataDir, Json, data_dir_of


def backup(
    out: Annotated[Path, typer.Argument(help="A new .tar file, or else a new folder.")],
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Back up the registry, also while a server uses it; every file is verified on its way."""
    from foretoken.server.registry.backup import backup as write  # noqa: PLC0415

    with progress(f"Writing {out.name}") as bar:
        summary = write(data_dir_of(data_dir), out, bar)
    show_record(summary.record(), title=f"Backup {out}", as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="What backup wrote.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the registry of a data dir in use.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Restore the registry from a backup; every file is verified on its way."""
    from foretoken.server.registry.restore import restore as read  # noqa: PLC0415

    folder = data_dir_of(data_dir)
    with progress(f"Reading {source.name}") as bar:
        summary = read(source, folder, overwrite=overwrite, progress=bar)
    show_record(summary.record(), title=f"Restored {folder}", as_json=as_json)
