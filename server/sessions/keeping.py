"""What snapshots and sessions share on the disk: a database, its writers, and a tenant's quota."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from foretoken.errors import FailedPrecondition, Overloaded
from foretoken.server.registry.sqlite import Database
from foretoken.server.sessions import accounts

__all__ = ["Budgets", "States", "deleted", "expect_room", "expect_version"]

FULL = 30.0  # seconds after which a tenant whose quota is used up might try again


@dataclass(frozen=True)
class Budgets:
    """What states may take.

    Args:
        quota: bytes of one tenant's snapshots and sessions on the disk.
        ttl: seconds since its last use after which a snapshot is erased; 0: never.
    """

    quota: int
    ttl: float


class States:
    """The states of a data dir.

    Args:
        database: their own, upgraded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()  # SQLite would have this process's writers poll each other

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody writes beside, durable when it has ended without an error."""
        with self._turn, self._database.write() as connection:
            yield connection

    def expect_room(self, tenant: str | None, size: int, budgets: Budgets) -> None:
        """Do nothing if a tenant may have one more state of ``size`` bytes on the disk.

        Raises:
            Overloaded: if its quota does not allow that.
        """
        with self._database.read() as connection:
            fits = accounts.used_bytes(connection, tenant) + size <= budgets.quota
        if not fits:
            with self.writing() as connection:
                expect_room(connection, tenant, size, budgets, datetime.now(UTC))

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def expect_room(
    connection: Connection, tenant: str | None, size: int, budgets: Budgets, now: datetime
) -> None:
    """Do nothing if there is room for one more state of ``size`` bytes; see ``States``."""
    there = accounts.used_bytes(connection, tenant)
    while there + size > budgets.quota and accounts.expire(connection, now):
        there = accounts.used_bytes(connection, tenant)
    if there + size > budgets.quota:
        raise Overloaded(
            f"this state takes {size} bytes, and your other snapshots and sessions take {there} of "
            f"{budgets.quota} (snapshot_quota); delete or close some",
            retry_after=FULL,
        )


def expect_version(connection: Connection, name: str, version: int) -> None:
    """Do nothing if a version was not deleted.

    Raises:
        FailedPrecondition: if it was.
    """
    if accounts.gone(connection, name, version):
        raise deleted("this state", name, version)


def deleted(what: str, name: str, version: int) -> FailedPrecondition:
    """What is said of a state whose version was deleted, and its data with it."""
    return FailedPrecondition(
        f"the version {name}:{version} that {what} belongs to has been deleted, and the state with "
        "it; begin a new session"
    )
