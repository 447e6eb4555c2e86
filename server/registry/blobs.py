"""Content-addressed files: a blob is named by the SHA-256 of its bytes and never changes.

They lie under ``<root>/sha256/<hex>``, the naming of an OCI image layout (OCI image spec 1.1,
"blobs"); what is still being written lies under ``<root>/incoming`` and is never read.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO, FileIO
from pathlib import Path
from typing import IO

from foretoken.errors import DataLoss, InvalidInput, Unavailable
from foretoken.server.registry.files import Disk, FileLayer

__all__ = ["BlobRef", "BlobStore", "StoredFile"]

Source = Path | bytes | IO[bytes]
CHUNK = 1 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class BlobRef:
    """A blob's digest (``sha256:<hex>``) and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True)
class StoredFile:
    """A file on the disk: where, how large, and when it was written (seconds since 1970)."""

    path: Path
    size: int
    written: float


class BlobStore:
    """Blobs in a local folder.

    Args:
        root: the folder; it is made if it is not there.
        files: the file layer.

    Raises:
        Unavailable: if the folder cannot be made.
    """

    def __init__(self, root: Path, files: FileLayer | None = None) -> None:
        self._files = files or Disk()
        self._home = root / "sha256"
        self._incoming = root / "incoming"
        for folder in (root, self._home, self._incoming):
            if not folder.is_dir():
                self._make(folder)

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._files.fsync_folder(folder.parent)
        except OSError as e:
            raise Unavailable(f"cannot make the folder {folder}: {e.strerror}") from e

    def path(self, digest: str) -> Path:
        """Where the blob lies, whether it is there or not.

        Raises:
            InvalidInput: if ``digest`` is not ``sha256:`` and 64 lower-case hex digits.
        """
        if not _DIGEST.fullmatch(digest):
            raise InvalidInput(f"{digest!r} is not a digest; it should be sha256:<64 hex digits>")
        return self._home / digest.removeprefix("sha256:")

    def put(self, source: Source) -> BlobRef:
        """Keep the bytes of a file, a stream or a string; durable when this returns.

        Putting what is there already replaces it by itself: that heals a damaged blob and makes
        the blob young again, so that no garbage collection under way takes it for an old one.

        Raises:
            InvalidInput: if ``source`` cannot be read.
            Unavailable: if the disk is full or cannot be written.
        """
        with _reading(source) as stream, self._arriving() as (temp, file):
            hasher, size = hashlib.sha256(), 0
            while chunk := _chunk(stream, source):
                hasher.update(chunk)
                size += len(chunk)
                self._files.write(file, chunk)
            self._files.fsync(file)
            digest = f"sha256:{hasher.hexdigest()}"
            self._files.rename(temp, self.path(digest))
            self._files.fsync_folder(self._home)
        return BlobRef(digest, size)

    @contextmanager
    def _arriving(self) -> Iterator[tuple[Path, FileIO]]:
        """Yield a fresh temporary file; it is gone afterwards unless it was renamed."""
        temp = self.incoming()
        try:
            with self._files.create(temp) as file:
                yield temp, file
        except BaseException as e:
            self._files.remove(temp)
            if isinstance(e, OSError):
                raise Unavailable(f"cannot write under {self._incoming}: {e.strerror}") from e
            raise

    def incoming(self) -> Path:
        """A path that nobody uses; what is written there is one of the ``unfinished``."""
        return self._incoming / uuid.uuid4().hex

    def exists(self, digest: str) -> bool:
        """Whether there is a blob of that name; says nothing about its bytes."""
        return self.path(digest).is_file()

    def written(self, digest: str) -> float:
        """When the blob was last put, in seconds since 1970; infinity if it is gone."""
        try:
            return self.path(digest).stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def read(self, digest: str, label: str) -> bytes:
        """All bytes of a small blob, verified; arguments and errors as for ``verify``."""
        data = self._open(digest, label).read_bytes()
        _same(f"sha256:{hashlib.sha256(data).hexdigest()}", digest, label, self.path(digest))
        return data

    def verify(self, digest: str, label: str) -> Path:
        """Hash the blob again and return its path.

        Args:
            digest: of the blob.
            label: what the blob is to people, for the error.

        Raises:
            DataLoss: if it is gone or its bytes have changed.
        """
        path = self._open(digest, label)
        _same(digest_of(path).digest, digest, label, path)
        return path

    def _open(self, digest: str, label: str) -> Path:
        path = self.path(digest)
        if not path.is_file():
            raise DataLoss(f"{label}: its blob {path} is gone; restore it from a backup")
        return path

    def delete(self, digest: str) -> None:
        """Remove a blob; that it is gone already is no error."""
        self._files.remove(self.path(digest))

    def list(self) -> Iterator[tuple[str, StoredFile]]:
        """Every blob by digest, in no order."""
        for file in _scan(self._home):
            digest = f"sha256:{file.path.name}"
            if _DIGEST.fullmatch(digest):
                yield digest, file

    def unfinished(self) -> Iterator[StoredFile]:
        """Files that were being written, now or when a process died."""
        return _scan(self._incoming)

    def discard(self, file: StoredFile) -> None:
        """Remove one of ``unfinished``."""
        self._files.remove(file.path)


def digest_of(source: Source) -> BlobRef:
    """The name under which ``put`` would keep these bytes.

    Raises:
        InvalidInput: if ``source`` cannot be read.
    """
    hasher, size = hashlib.sha256(), 0
    with _reading(source) as stream:
        while chunk := _chunk(stream, source):
            hasher.update(chunk)
            size += len(chunk)
    return BlobRef(f"sha256:{hasher.hexdigest()}", size)


def _reading(source: Source) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    if not isinstance(source, Path):
        return source
    try:
        return source.open("rb")
    except OSError as e:
        raise InvalidInput(f"cannot read {source}: {e.strerror}") from e


def _chunk(stream: IO[bytes], source: Source) -> bytes:
    try:
        return stream.read(CHUNK)
    except OSError as e:
        named = source if isinstance(source, Path) else "what is being read"
        raise InvalidInput(f"cannot read {named}: {e.strerror}") from e


def _same(found: str, wanted: str, label: str, path: Path) -> None:
    if found != wanted:
        raise DataLoss(
            f"{label}: the bytes of its blob {path} have changed (they hash to {found}); "
            "restore it from a backup or register the model again"
        )


def _scan(folder: Path) -> Iterator[StoredFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # another process was quicker
            yield StoredFile(Path(entry.path), stat.st_size, stat.st_mtime)
