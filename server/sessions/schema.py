"""The tables that states are kept in, in a database of their own, and how older ones are upgraded.

Not in the catalogue: each of its commits has every worker look at its routes again, and states may
be written thousands of times a second. Data stand last in a row, so that nothing else needs them
read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
)

from foretoken.errors import FailedPrecondition
from foretoken.server.registry.schema import Utc
from foretoken.server.registry.sqlite import Database

__all__ = ["epochs", "metadata", "pins", "removed", "sessions", "snapshots", "upgrade"]

Upgrade = Callable[[Connection], None]
UPGRADES: tuple[Upgrade, ...] = ()  # the first from version 1 to 2; a released one never changes

metadata = MetaData()

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", String(69), primary_key=True),  # salted: it tells nothing of what it names
    Column("tenant", String(128)),  # whose it is; null: of callers without a tenant
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("manifest", String(71), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),  # of the data
    Column("ttl", Float, nullable=False),  # seconds since the last use; 0: for ever
    Column("created", Utc, nullable=False),
    Column("used", Utc, nullable=False),
    Column("expires", Utc),
    Column("gone", Utc),  # when its version was deleted; the data went with it
    Column("data", LargeBinary, nullable=False),
    Index("ix_snapshots_tenant", "tenant", "gone", "size"),
    Index("ix_snapshots_used", "tenant", "used"),
    Index("ix_snapshots_version", "name", "version", "manifest"),
    Index("ix_snapshots_expires", "expires"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("session", String(200), primary_key=True),
    Column("tenant", String(128)),
    Column("epoch", BigInteger, nullable=False),  # of whoever may write it
    Column("name", String(128), nullable=False),
    Column("version", Integer, nullable=False),
    Column("manifest", String(71), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("about", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("expires", Utc),
    Column("gone", Utc),
    Column("data", LargeBinary, nullable=False),
    Index("ix_sessions_tenant", "tenant", "gone", "size"),
    Index("ix_sessions_version", "name", "version", "manifest"),
    Index("ix_sessions_expires", "expires"),
)

pins = Table(  # sessions that live in some process's memory alone, as it says every few seconds
    "pins",
    metadata,
    Column("process", String(64), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("sessions", Integer, nullable=False),
    Column("until", Utc, nullable=False),  # who is killed says nothing more
)

removed = Table(  # versions that were deleted: a state of one is never written again
    "removed",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", Integer, primary_key=True),
)

epochs = Table("epochs", metadata, Column("last", BigInteger, nullable=False))


def upgrade(database: Database, upgrades: Sequence[Upgrade] = UPGRADES) -> None:
    """Make the tables where there are none, and bring older ones to this release's form.

    Args:
        database: new, older or current.
        upgrades: from each version to the next; others than this release's only serve tests.

    Raises:
        FailedPrecondition: if a newer release wrote it.
    """
    current = len(upgrades) + 1
    with database.read() as connection:
        if database.schema_version(connection) == current:
            return
    with database.write() as connection:
        found = database.schema_version(connection)  # again: another process may have been quicker
        if found > current:
            raise FailedPrecondition(
                f"{database.path} has schema version {found}, and this release knows {current}: it "
                "was written by a newer one; upgrade Foretoken or restore a backup"
            )
        if found == 0:
            metadata.create_all(connection)
            connection.execute(insert(epochs).values(last=0))
        for step in upgrades[max(found - 1, 0) :] if found else ():
            step(connection)
        database.set_schema_version(connection, current)
