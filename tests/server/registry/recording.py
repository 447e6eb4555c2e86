"""A file layer that writes down what it is asked to do, and may fail at one step."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path

from foretoken.server.registry.files import Disk


class RecordingDisk(Disk):
    """The real layer; ``log`` grows by (operation, file name) before each operation.

    Args:
        log: where to write; shared with others that record.
        before: is called with each operation's name before it is done, and may raise.
    """

    def __init__(self, log: list, before: Callable[[str], None] = lambda _: None) -> None:
        self.log, self._before = log, before

    def _note(self, operation: str, path: Path | str) -> None:
        self._before(operation)
        self.log.append((operation, Path(path).name))

    def create(self, path: Path) -> FileIO:
        self._note("create", path)
        return super().create(path)

    def write(self, file: FileIO, data: bytes) -> None:
        self._note("write", file.name)
        super().write(file, data)

    def fsync(self, file: FileIO) -> None:
        self._note("fsync", file.name)
        super().fsync(file)

    def rename(self, source: Path, target: Path) -> None:
        self._note("rename", target)
        super().rename(source, target)

    def fsync_folder(self, folder: Path) -> None:
        self._note("fsync_folder", folder)
        super().fsync_folder(folder)

    def remove(self, path: Path) -> None:
        self._note("remove", path)
        super().remove(path)
