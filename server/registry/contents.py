"""What a backup consists of: a catalogue, the blobs it refers to, and a contents page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import literal, select, union_all

from foretoken.server.registry import schema
from foretoken.server.registry.records import Record, Status
from foretoken.server.registry.registry import BLOBS
from foretoken.server.registry.sqlite import Database
from foretoken.server.registry.verify import MANIFEST

__all__ = ["BackupSummary", "Wanted", "opened", "wanted"]

FORMAT = 1
CONTENTS = "backup.json"  # written last: a backup without it is not whole


@dataclass(frozen=True)
class BackupSummary(Record):
    """What a backup holds: when it was made and by which release, its blobs and their bytes."""

    created: str
    release: str
    blobs: int
    bytes: int


@dataclass(frozen=True)
class Wanted:
    """A blob that a catalogue refers to, and what it is to people."""

    digest: str
    size: int
    label: str

    @property
    def entry(self) -> str:
        """Its name in the backup."""
        return f"{BLOBS}/sha256/{self.digest.removeprefix('sha256:')}"


def wanted(database: Database) -> list[Wanted]:
    """Every blob that a version still consists of, once; by columns that all revisions have."""
    v, f, b = schema.model_versions.c, schema.version_files.c, schema.blobs.c
    manifests = select(v.name, v.version, literal(MANIFEST), b.digest, b.size).where(
        v.manifest_digest == b.digest, v.status != Status.FAILED
    )
    files = select(f.name, f.version, f.file, b.digest, b.size).where(f.digest == b.digest)
    found: dict[str, Wanted] = {}
    with database.read() as connection:
        for name, version, file, digest, size in connection.execute(union_all(manifests, files)):
            found.setdefault(digest, Wanted(digest, size, f"{name}:{version}: {file}"))
    return sorted(found.values(), key=lambda blob: blob.digest)


@contextmanager
def opened(path: Path) -> Iterator[Database]:
    """A catalogue as it is, not migrated; closed afterwards."""
    database = Database(path)
    try:
        yield database
    finally:
        database.close()
