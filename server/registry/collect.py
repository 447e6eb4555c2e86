"""Garbage collection: mark what versions refer to, sweep the rest once it is old enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from sqlalchemy import Connection, delete, select

from foretoken.errors import InvalidInput
from foretoken.server.registry import contexts, schema, versions
from foretoken.server.registry.blobs import BlobStore
from foretoken.server.registry.records import Record, Status
from foretoken.server.registry.sqlite import Database
from foretoken.server.sessions.store import SessionStore

__all__ = ["Collected", "collect", "collect_contexts", "collect_sessions"]

_BATCH = 256  # blobs swept in one transaction, so that writers wait for moments only
LONGEST_GRACE = 10 * 365 * 24 * 3600
INTERRUPTED = "interrupted: the process that registered it ended before it was done"


@dataclass(frozen=True)
class Collected(Record):
    """What a collection removed.

    Args:
        blobs: that no version or context refers to.
        bytes: of those blobs and of unfinished files.
        unfinished: files whose writer died.
        interrupted: references of versions that were PENDING too long and are FAILED now.
    """

    blobs: int
    bytes: int
    unfinished: int
    interrupted: tuple[str, ...]

    def __add__(self, other: Collected) -> Collected:
        """What both removed."""
        return Collected(
            self.blobs + other.blobs,
            self.bytes + other.bytes,
            self.unfinished + other.unfinished,
            self.interrupted + other.interrupted,
        )


def collect(database: Database, blobs: BlobStore, grace: float, *, dry_run: bool) -> Collected:
    """Collect what is older than ``grace`` seconds; with ``dry_run`` only say what it would be.

    Raises:
        InvalidInput: unless ``grace`` is between 0 and ten years.
    """
    horizon = _horizon(grace)
    ended = _end_interrupted(database, horizon, dry_run=dry_run)
    found = _collect(database, blobs, versions.referenced, horizon, dry_run=dry_run)
    if not dry_run:
        _forget_rows_without_blob(database, blobs)
    return found + Collected(0, 0, 0, ended)


def collect_contexts(
    database: Database, blobs: BlobStore, grace: float, *, dry_run: bool
) -> Collected:
    """The same for blobs of contexts."""
    return _collect(database, blobs, contexts.referenced, _horizon(grace), dry_run=dry_run)


def collect_sessions(database: Database, sessions: SessionStore) -> None:
    """Erase states of versions that are not there any more."""
    for name, number in sessions.versions():
        with sessions.writing() as states, database.read() as connection:
            if versions.get(connection, name, number) is None:
                sessions.entomb(states, name, number)


def _horizon(grace: float) -> float:
    if not 0 <= grace <= LONGEST_GRACE:
        raise InvalidInput(
            f"grace is a number of seconds from 0 to {LONGEST_GRACE} (ten years), not {grace:g}"
        )
    return time.time() - grace


def _collect(
    database: Database,
    blobs: BlobStore,
    referenced: Callable[[Connection, Sequence[str]], set[str]],
    horizon: float,
    *,
    dry_run: bool,
) -> Collected:
    old = {digest: file.size for digest, file in blobs.list() if file.written <= horizon}
    swept: list[str] = []
    for batch in _batches(sorted(old)):
        with database.write() as connection:
            unused = sorted(set(batch) - referenced(connection, batch))
            orphans = [digest for digest in unused if blobs.written(digest) <= horizon]
            if not dry_run:
                _sweep(connection, blobs, orphans)
            swept += orphans
    partial = [file for file in blobs.unfinished() if file.written <= horizon]
    if not dry_run:
        for file in partial:
            blobs.discard(file)
    size = sum(old[digest] for digest in swept) + sum(file.size for file in partial)
    return Collected(len(swept), size, len(partial), ())


def _end_interrupted(database: Database, horizon: float, *, dry_run: bool) -> tuple[str, ...]:
    before = datetime.fromtimestamp(horizon, UTC)
    with database.write() as connection:
        v = schema.model_versions.c
        old = select(v.name, v.version).where(v.status == Status.PENDING, v.created <= before)
        found = [(row.name, row.version) for row in connection.execute(old)]
        for name, number in () if dry_run else found:
            versions.settle(connection, name, number, Status.FAILED, INTERRUPTED)
    return tuple(f"{name}:{number}" for name, number in found)


def _sweep(connection: Connection, blobs: BlobStore, orphans: Sequence[str]) -> None:
    """Remove files before the transaction ends.

    Admission looks for its blobs under the same lock: it either finds them referred to here, or
    finds them gone and puts them again.
    """
    for digest in orphans:
        blobs.delete(digest)
    connection.execute(delete(schema.blobs).where(schema.blobs.c.digest.in_(orphans)))


def _forget_rows_without_blob(database: Database, blobs: BlobStore) -> None:
    """Drop rows whose file an earlier collection removed before it was ended itself."""
    b, f, v = schema.blobs.c, schema.version_files.c, schema.model_versions.c
    unused = select(b.digest).where(
        ~select(f.digest).where(f.digest == b.digest).exists(),
        ~select(v.name).where(v.manifest_digest == b.digest, v.status != Status.FAILED).exists(),
    )
    with database.write() as connection:
        gone = [digest for digest in connection.scalars(unused) if not blobs.exists(digest)]
        for batch in _batches(gone):
            connection.execute(delete(schema.blobs).where(b.digest.in_(batch)))


def _batches(digests: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(digests)
    while batch := list(islice(rest, _BATCH)):
        yield batch
