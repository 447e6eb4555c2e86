"""States on the disk: snapshots that users took, and states of sessions that live or wait.

Methods block, are safe to call from threads and processes, and what they wrote is durable when they
return. All states of a data dir lie in one database, so that one transaction, and one flush of the
disk, keeps many of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from foretoken.server.registry.sqlite import Database
from foretoken.server.sessions import accounts
from foretoken.server.sessions.accounts import Totals
from foretoken.server.sessions.claims import SavedSessions, no_session
from foretoken.server.sessions.keeping import Budgets
from foretoken.server.sessions.kept import KeptSnapshots, no_snapshot
from foretoken.server.sessions.pins import Counts, pin
from foretoken.server.sessions.saved import Saved
from foretoken.server.sessions.schema import upgrade

__all__ = [
    "DATABASE",
    "Budgets",
    "Saved",
    "SessionStore",
    "Totals",
    "no_session",
    "no_snapshot",
    "opened",
]

DATABASE = "sessions.db"  # in a data dir
PRAGMAS = (
    "secure_delete=ON",  # what is erased is overwritten
    "wal_autocheckpoint=8000",  # pages: the same rows are written over and over before that
)


def opened(path: Path) -> Database:
    """The database of states at ``path``, as it is."""
    return Database(path, name="the database of states", pragmas=PRAGMAS)


class SessionStore(KeptSnapshots, SavedSessions):
    """The states of a data dir; see ``KeptSnapshots`` for its arguments."""

    @classmethod
    def open(cls, path: Path, secret: Callable[[], bytes]) -> SessionStore:
        """Open a database of states; a new one is made, an older release's is upgraded.

        Raises:
            FailedPrecondition: if a newer release wrote it.
            DataLoss: if it is damaged.
            Unavailable: if it cannot be made or opened.
        """
        database = opened(path)
        try:
            upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database, secret)

    def pin(self, process: str, counts: Counts, seconds: float) -> None:
        """Say which versions the live sessions of a process need, for so many seconds from now.

        Args:
            process: unlike any other's.
            counts: how many sessions, by name and number of their version; none: no version.
            seconds: until it is to be said again.
        """
        with self.writing() as connection:
            pin(connection, process, counts, datetime.now(UTC) + timedelta(seconds=seconds))

    def totals(self) -> Totals:
        """How many states there are, and their bytes."""
        with self._database.read() as connection:
            return accounts.totals(connection)

    def live(self, name: str, version: int) -> list[str]:
        """Ids of the snapshots and sessions that only a version can go on from."""
        with self._database.read() as connection:
            return accounts.live(connection, name, version, datetime.now(UTC))

    def versions(self) -> list[tuple[str, int]]:
        """Versions of which there are states."""
        with self._database.read() as connection:
            return accounts.versions(connection)

    def entomb(self, connection: Connection, name: str, version: int) -> None:
        """Erase all states of a deleted version but that they were there, and keep no more of it.

        Args:
            connection: of ``writing``.
            name: of the model.
            version: its number.
        """
        accounts.entomb(connection, name, version, datetime.now(UTC))

    def expire(self) -> int:
        """Erase the states whose time is over; returns how many."""
        now = datetime.now(UTC)
        with self._database.read() as connection:
            if not accounts.overdue(connection, now):
                return 0
        erased = 0
        while True:  # others may write between two batches
            with self.writing() as connection:
                some = accounts.expire(connection, now)
            erased += some
            if not some:
                return erased
