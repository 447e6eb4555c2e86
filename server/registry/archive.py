"""A backup as a folder or as one tar file: flat-named entries, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from foretoken.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from foretoken.server.registry.blobs import CHUNK
from foretoken.server.registry.files import Disk

__all__ = ["Content", "Reader", "Writer", "reading", "writing"]

TAR = ".tar"
READ = "read what is to be backed up"  # all that a caller does besides ``Writer.add``


class Content(Protocol):
    """What an entry's bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writer(Protocol):
    """Takes the entries of a backup."""

    def add(self, name: str, content: Content, size: int) -> None:
        """Store ``size`` bytes under ``name``, a relative path with ``/``.

        Raises:
            Unavailable: if they cannot be read, or cannot be written.
        """


class Reader(Protocol):
    """Gives the entries of a backup."""

    def names(self) -> list[str]:
        """All entries, in alphabetical order."""

    def open(self, name: str) -> IO[bytes]:
        """The bytes of an entry; it must be a plain file."""


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Say of what the disk refuses that it was ``what`` which failed."""
    try:
        yield
    except OSError as e:
        raise Unavailable(f"cannot {what}: {e}") from e


class _Source:
    """Content whose errors are not taken for those of the backup that it goes into."""

    def __init__(self, name: str, content: Content) -> None:
        self._name, self._content = name, content

    def read(self, size: int = -1, /) -> bytes:
        with _doing(f"read {self._name}, which is to be backed up"):
            return self._content.read(size)


class _FolderWriter:
    def __init__(self, folder: Path, out: Path) -> None:
        self._folder, self._out, self._disk = folder, out, Disk()

    def add(self, name: str, content: Content, size: int) -> None:  # noqa: ARG002
        path, source = self._folder / name, _Source(name, content)
        with _doing(f"write the backup {self._out}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._disk.create(path) as file:
                while chunk := source.read(CHUNK):
                    self._disk.write(file, chunk)
                self._disk.fsync(file)


class _TarWriter:
    def __init__(self, tar: tarfile.TarFile, out: Path) -> None:
        self._tar, self._out = tar, out

    def add(self, name: str, content: Content, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, 0o644
        with _doing(f"write the backup {self._out}"):
            self._tar.addfile(entry, _Source(name, content))


class _FolderReader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        found = (path for path in self._folder.rglob("*") if not path.is_dir())
        return sorted(path.relative_to(self._folder).as_posix() for path in found)

    def open(self, name: str) -> IO[bytes]:
        path = self._folder / name
        if path.is_symlink() or not path.is_file():
            raise InvalidInput(f"{path} is not a plain file; no backup holds such a thing")
        return path.open("rb")


class _TarReader:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._entries: Mapping[str, tarfile.TarInfo] = {entry.name: entry for entry in tar}

    def names(self) -> list[str]:
        return sorted(self._entries)

    def open(self, name: str) -> IO[bytes]:
        entry = self._entries[name]
        stream = self._tar.extractfile(entry) if entry.isfile() else None
        if stream is None:
            raise InvalidInput(f"entry {name!r} is not a plain file; no backup holds such a thing")
        return stream


@contextmanager
def writing(out: Path) -> Iterator[Writer]:
    """A new backup at ``out``: a tar file if it ends in ``.tar``, else a folder.

    It is put together beside ``out`` under a temporary name, which is removed if anything raises.

    Raises:
        AlreadyExists: if there is something at ``out``.
        Unavailable: if it cannot be written, or if what it is to hold cannot be read.
    """
    if out.exists():
        raise AlreadyExists(f"{out} exists; name a new file or folder")
    partial = out.with_name(f".{out.name}.{uuid.uuid4().hex}.partial")
    disk = Disk()
    try:
        with _doing(f"write the backup {out}"):
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.suffix == TAR:
                with partial.open("xb") as file:
                    with tarfile.open(fileobj=file, mode="w") as tar, _doing(READ):
                        yield _TarWriter(tar, out)
                    file.flush()
                    os.fsync(file.fileno())
            else:
                partial.mkdir()
                with _doing(READ):
                    yield _FolderWriter(partial, out)
                for folder in sorted({path.parent for path in partial.rglob("*")} | {partial}):
                    disk.fsync_folder(folder)
            disk.rename(partial, out)
            disk.fsync_folder(out.parent)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        elif partial.exists():
            partial.unlink()


@contextmanager
def reading(source: Path) -> Iterator[Reader]:
    """The backup at ``source``.

    Raises:
        NotFound: if there is nothing.
        InvalidInput: if it is neither a folder nor a whole tar file.
    """
    if source.is_dir():
        yield _FolderReader(source)
        return
    if not source.is_file():
        raise NotFound(f"no backup {source}")
    try:
        with tarfile.open(source, mode="r:") as tar:
            reader = _TarReader(tar)
            yield reader
    except (tarfile.TarError, EOFError) as e:
        raise InvalidInput(f"{source} is not a whole tar file ({e}); copy the backup again") from e
