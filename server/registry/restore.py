"""Restore of a backup; every byte is hashed on its way.

Blobs go in first and the catalogue last, in one transaction: whatever ends a restore early, the
data dir shows its old state or none. The states of sessions go in just before the catalogue, in a
transaction of their own.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from foretoken.errors import DataLoss, FailedPrecondition, InvalidInput
from foretoken.server.registry import contexts
from foretoken.server.registry.archive import Reader, reading
from foretoken.server.registry.blobs import BlobStore, digest_of
from foretoken.server.registry.contents import (
    CONTENTS,
    GONE,
    READ,
    BackupSummary,
    Wanted,
    opened,
    opened_states,
    wanted,
)
from foretoken.server.registry.migrate import migrate
from foretoken.server.registry.registry import BLOBS, CATALOGUE, CONTEXTS
from foretoken.server.sessions.schema import upgrade
from foretoken.server.sessions.store import DATABASE as SESSIONS

__all__ = ["restore"]

Progress = Callable[[float], None]  # is told the fraction done, 0 to 1


def restore(
    source: Path, data_dir: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> BackupSummary:
    """Make a data dir's registry what it was when the backup was made.

    Args:
        source: what ``backup`` wrote.
        data_dir: new or empty, unless ``overwrite``.
        overwrite: replace the registry that is there; its own blobs are left to ``gc``.
        progress: is told the fraction done.

    Raises:
        NotFound: if there is no backup at ``source``.
        InvalidInput: if it is none, or of a newer format.
        FailedPrecondition: if ``data_dir`` is in use for something, or a newer release made the
            backup.
        DataLoss: naming the file that is missing or not what it was.
        Unavailable: if ``data_dir`` cannot be written.
    """
    fresh = not data_dir.exists() or (data_dir.is_dir() and not any(data_dir.iterdir()))
    if not fresh and not overwrite:
        raise FailedPrecondition(
            f"{data_dir} is not empty; name a new data dir, or pass --overwrite to replace the "
            "registry in it"
        )
    with reading(source) as reader, tempfile.TemporaryDirectory() as scratch:
        summary, page = _contents(source, reader)
        folder = Path(scratch)
        _extract(reader, folder / CATALOGUE, page.catalogue)
        if page.states is not None:
            _extract(reader, folder / SESSIONS, page.states)
        with opened(folder / CATALOGUE) as copy, opened_states(folder / SESSIONS) as states:
            migrate(copy, folder / "backups")
            upgrade(states)  # makes an empty one for a backup that has none
            with copy.write() as connection:
                contexts.forget_states(connection)  # they are computed anew when asked for
                contexts.forget_tables(connection, page.gone)
            with _cleaned_up(data_dir if fresh else None):
                _put_all(reader, wanted(copy), data_dir, progress or (lambda _: None))
                with opened_states(data_dir / SESSIONS) as database:
                    database.replace_by(states.path)
                with opened(data_dir / CATALOGUE) as database:
                    database.replace_by(copy.path)
    return summary


class _Page(NamedTuple):
    """Digests on a contents page: of the databases, and of what was left out."""

    catalogue: str
    states: str | None
    gone: list[str]


def _contents(source: Path, reader: Reader) -> tuple[BackupSummary, _Page]:
    """What the contents page says."""
    if CONTENTS not in reader.names():
        raise InvalidInput(f"{source} is not a whole backup: it has no {CONTENTS}")
    try:
        with reader.open(CONTENTS) as stream:
            said: dict[str, Any] = json.load(stream)
        if said.pop("format") not in READ:
            raise InvalidInput(f"{source} was made by a newer release; upgrade Foretoken")
        page = _Page(said.pop("catalogue"), said.pop("states", None), said.pop(GONE, []))
        return BackupSummary(**said), page
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        if isinstance(e, InvalidInput):
            raise
        raise InvalidInput(f"{source}: {CONTENTS} is not a backup's contents page: {e!r}") from e


def _extract(reader: Reader, copy: Path, digest: str) -> None:
    name = copy.name
    if name not in reader.names():
        raise DataLoss(f"the backup has no {name}; use another one")
    with reader.open(name) as stream, copy.open("wb") as file:
        shutil.copyfileobj(stream, file)
    if digest_of(copy).digest != digest:
        raise DataLoss(f"the backup's {name} is damaged; use another one")


def _put_all(reader: Reader, due: list[Wanted], data_dir: Path, progress: Progress) -> None:
    there = set(reader.names())
    stores = {folder: BlobStore(data_dir / folder) for folder in (BLOBS, CONTEXTS)}
    total, done = sum(blob.size for blob in due) or 1, 0
    for blob in due:
        if blob.entry not in there:
            raise DataLoss(f"{blob.label}: missing from the backup; use another one")
        if stores[blob.folder].put(reader.open(blob.entry)).digest != blob.digest:
            raise DataLoss(f"{blob.label}: its bytes in the backup have changed; use another one")
        done += blob.size
        progress(done / total)


@contextmanager
def _cleaned_up(made: Path | None) -> Iterator[None]:
    """Remove the data dir that was made if anything raises, an interrupt among others."""
    there = made is not None and made.is_dir()
    try:
        yield
    except BaseException:
        if made is not None and made.is_dir():
            for path in made.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not there:
                made.rmdir()
        raise
