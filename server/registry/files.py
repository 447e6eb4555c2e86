"""The file layer: the few operations that durability rests on, in one place.

What a test can record, it can hold to an order: write, fsync, rename, fsync the folder.
"""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path
from typing import Protocol

__all__ = ["Disk", "FileLayer"]


class FileLayer(Protocol):
    """What the registry does to files; every operation may raise ``OSError``."""

    def create(self, path: Path) -> FileIO:
        """Open a new file for writing, unbuffered; refused if it is there already."""

    def write(self, file: FileIO, data: bytes) -> None:
        """Append all of ``data``."""

    def fsync(self, file: FileIO) -> None:
        """Return once the file's bytes are on the disk."""

    def rename(self, source: Path, target: Path) -> None:
        """Put ``source`` in the place of ``target``, atomically, on one file system."""

    def fsync_folder(self, folder: Path) -> None:
        """Return once the folder's entries are on the disk."""

    def remove(self, path: Path) -> None:
        """Remove a file; that it is gone already is no error."""


class Disk:
    """The real file layer."""

    def create(self, path: Path) -> FileIO:
        return FileIO(path, "xb")

    def write(self, file: FileIO, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) or 0 :]

    def fsync(self, file: FileIO) -> None:
        os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def fsync_folder(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
