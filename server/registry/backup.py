"""Backup of a data dir while it is in use; every byte is hashed on its way."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

from foretoken import __version__
from foretoken.errors import DataLoss, NotFound, Unavailable
from foretoken.server.registry.archive import Writer, writing
from foretoken.server.registry.blobs import BlobStore, digest_of
from foretoken.server.registry.contents import (
    CONTENTS,
    FORMAT,
    GONE,
    BackupSummary,
    Wanted,
    opened,
    opened_states,
    wanted,
)
from foretoken.server.registry.registry import BLOBS, CATALOGUE, CONTEXTS
from foretoken.server.registry.sqlite import Database
from foretoken.server.sessions.store import DATABASE as SESSIONS

__all__ = ["backup"]

_TRIES = 3  # of copying blobs before a concurrent collection has swept one of them

Progress = Callable[[float], None]  # is told the fraction done, 0 to 1


class _SweptError(Exception):
    """A blob went away between the copy of the catalogue and its own."""


def backup(data_dir: Path, out: Path, progress: Progress | None = None) -> BackupSummary:
    """Back up a data dir, while others may be using it.

    Args:
        data_dir: to back up; it is not changed, nor migrated.
        out: a tar file if it ends in ``.tar``, else a folder; it must not exist.
        progress: is told the fraction done.

    Raises:
        NotFound: if ``data_dir`` holds no catalogue.
        AlreadyExists: if there is something at ``out``.
        DataLoss: naming the file whose bytes are not those that were registered.
        Unavailable: if ``out`` cannot be written.
    """
    if not (data_dir / CATALOGUE).is_file():
        raise NotFound(f"{data_dir} holds no catalogue; name the data dir of a registry")
    for _ in range(_TRIES):
        try:
            with writing(out) as writer:
                return _write(data_dir, writer, progress or (lambda _: None))
        except _SweptError:
            continue
    raise Unavailable("garbage collection keeps sweeping blobs; back up when it has ended")


def _write(data_dir: Path, writer: Writer, progress: Progress) -> BackupSummary:
    stores = {folder: BlobStore(data_dir / folder) for folder in (BLOBS, CONTEXTS)}
    with tempfile.TemporaryDirectory() as scratch, opened(data_dir / CATALOGUE) as database:
        # Before the catalogue, whose versions all states in it then belong to, or did.
        states = _add_states(writer, data_dir / SESSIONS, Path(scratch) / SESSIONS)
        copy = Path(scratch) / CATALOGUE
        database.copy_to(copy)
        catalogue = digest_of(copy)
        with copy.open("rb") as stream:
            writer.add(CATALOGUE, stream, catalogue.size)
        with opened(copy) as copied:
            due = wanted(copied)
        total, done, gone = sum(blob.size for blob in due), 0, []
        for blob in due:
            if blob.folder == CONTEXTS and not _whole(stores[CONTEXTS], blob):
                gone.append(blob)  # no reason to keep back everything else
            else:
                _add(writer, stores[blob.folder], blob, database)
            done += blob.size
            progress(done / max(total, 1))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    size = total - sum(blob.size for blob in gone)
    summary = BackupSummary(now, __version__, len(due) - len(gone), size, len(gone))
    left_out = {GONE: [blob.digest for blob in gone]}
    digests = {"catalogue": catalogue.digest, "states": states}
    said = {"format": FORMAT, **digests, **left_out, **summary.record()}
    page = json.dumps(said, indent=1).encode()
    writer.add(CONTENTS, BytesIO(page), len(page))
    return summary


def _add_states(writer: Writer, path: Path, copy: Path) -> str | None:
    """The digest of a copy of the sessions' states; None: an older release left none."""
    if not path.is_file():
        return None
    with opened_states(path) as database:
        database.copy_to(copy)
    states = digest_of(copy)
    with copy.open("rb") as stream:
        writer.add(SESSIONS, stream, states.size)
    return states.digest


def _whole(blobs: BlobStore, blob: Wanted) -> bool:
    try:
        blobs.verify(blob.digest, blob.label)
    except DataLoss:
        return False
    return True


def _add(writer: Writer, blobs: BlobStore, blob: Wanted, database: Database) -> None:
    path = blobs.path(blob.digest)
    try:
        whole = path.stat().st_size == blob.size
        if whole:
            with path.open("rb") as file:
                stream = _Hashing(file)
                writer.add(blob.entry, stream, blob.size)
            whole = stream.digest == blob.digest
    except FileNotFoundError as e:
        if blob.digest in {still.digest for still in wanted(database)}:
            raise DataLoss(f"{blob.label}: its blob {path} is gone; delete that") from e
        raise _SweptError from e
    if not whole:
        blobs.verify(blob.digest, blob.label)
        raise _SweptError  # it was put again meanwhile


class _Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hasher = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hasher.update(data)
        return data

    @property
    def digest(self) -> str:
        return f"sha256:{self._hasher.hexdigest()}"
