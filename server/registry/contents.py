"""What a backup consists of: a catalogue, the blobs it refers to, states, and a contents page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, literal, select, union_all

from foretoken.server.registry import schema
from foretoken.server.registry.records import Record, Status
from foretoken.server.registry.registry import BLOBS, CONTEXTS
from foretoken.server.registry.sqlite import Database
from foretoken.server.registry.verify import MANIFEST
from foretoken.server.sessions import store as states

__all__ = ["BackupSummary", "Wanted", "opened", "opened_states", "wanted"]

FORMAT = 2
READ = (1, FORMAT)  # 1: without the states of sessions
GONE = "gone"  # on the contents page: training sets of contexts that were left out
CONTENTS = "backup.json"  # written last: a backup without it is not whole


@dataclass(frozen=True)
class BackupSummary(Record):
    """What a backup holds.

    Args:
        created: when it was made.
        release: of Foretoken, that made it.
        blobs: in it.
        bytes: of those.
        left_out: contexts that were deleted meanwhile, or whose training set is damaged.
    """

    created: str
    release: str
    blobs: int
    bytes: int
    left_out: int = 0


@dataclass(frozen=True)
class Wanted:
    """A blob that a catalogue refers to, what it is to people, and the folder that it is in."""

    digest: str
    size: int
    label: str
    folder: str = BLOBS

    @property
    def entry(self) -> str:
        """Its name in the backup."""
        return f"{self.folder}/sha256/{self.digest.removeprefix('sha256:')}"


def wanted(database: Database) -> list[Wanted]:
    """Every blob that cannot be computed anew, once; by columns that all revisions have.

    That is all that versions consist of, and the training sets of contexts; not their states.
    """
    v, f, b = schema.model_versions.c, schema.version_files.c, schema.blobs.c
    manifests = select(v.name, v.version, literal(MANIFEST), b.digest, b.size).where(
        v.manifest_digest == b.digest, v.status != Status.FAILED
    )
    files = select(f.name, f.version, f.file, b.digest, b.size).where(f.digest == b.digest)
    found: dict[str, Wanted] = {}
    with database.read() as connection:
        for name, version, file, digest, size in connection.execute(union_all(manifests, files)):
            found.setdefault(digest, Wanted(digest, size, f"{name}:{version}: {file}"))
        for context, digest, size in _training_sets(connection):
            found[digest] = Wanted(digest, size, f"context {context}", CONTEXTS)
    return sorted(found.values(), key=lambda blob: blob.digest)


def _training_sets(connection: Connection) -> list[tuple[str, str, int]]:
    """Those that are whole, as far as is known: of a damaged one there is nothing to save."""
    if not inspect(connection).has_table(schema.contexts.name):
        return []
    c = schema.contexts.c
    whole = select(c.id, c.table_digest, c.table_size).where(c.gone.is_(None), c.problem == "")
    return [(row.id, row.table_digest, row.table_size) for row in connection.execute(whole)]


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    """A catalogue as it is, not migrated; closed afterwards."""
    with closing(Database(path)) as database:
        yield database


@contextmanager
def opened_states(path: Path) -> Iterator[Database]:
    """A database of states as it is, not upgraded; closed afterwards."""
    with closing(states.opened(path)) as database:
        yield database
