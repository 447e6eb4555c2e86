"""Owners: which worker has which sequence, for all workers of a server together.

Their claims lie in an SQLite file beside the catalogue, so that a claim is taken by exactly one
worker however many want it. There is no fsync, and a statement takes tens of microseconds: what a
crash of the machine may cost are claims, and a sequence without a claim is refused, never answered
wrongly. Numbers of workers are never used twice in the life of a server, so a number also says
which life of a worker is meant; ``settle`` is for those of servers before.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from foretoken.errors import Unavailable

__all__ = ["ALONE", "FILE", "LOST", "PARKED", "Claim", "Owners", "settle"]

FILE = "sequences.db"
LOST = 0  # in the place of a worker: the state went with the worker that had it
PARKED = -1  # nobody has it, but its state may be in the store
ALONE = 1  # number of a worker that has no others beside it
PATIENCE = 5.0  # seconds that another worker's statement may take, on the busiest of machines

_SCHEMA = """
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, worker INTEGER NOT NULL, session TEXT NOT NULL, since REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS claims_of ON claims (worker);
"""


class Claim(NamedTuple):
    """Who has a sequence.

    Args:
        worker: its number, ``LOST`` or ``PARKED``.
        session: id of the sequence's session.
    """

    worker: int
    session: str


class Owners:
    """One worker's view of the claims; it belongs to one event loop.

    Args:
        path: the file, made when missing; ``":memory:"`` for a worker that is alone.
        worker: number of this worker, at least 1.

    Raises:
        Unavailable: if the file cannot be made or opened; every method also raises it if the
            file cannot be used, or another worker holds on to it for too long.
    """

    def __init__(self, path: Path | str = ":memory:", worker: int = ALONE) -> None:
        self.worker = worker
        with _told():
            self._database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.executescript(_SCHEMA)

    def find(self, key: str) -> Claim | None:
        """The claim, or None: there is no such sequence."""
        with _told():
            sql = "SELECT worker, session FROM claims WHERE key = ?"
            row = self._database.execute(sql, (key,)).fetchone()
        return None if row is None else Claim(*row)

    def add(self, key: str, session: str) -> bool:
        """Claim a sequence that is new; whether it is."""
        row = (key, self.worker, session, time.time())
        return self._changed("INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?)", *row)

    def take(self, key: str, claim: Claim, session: str | None = None) -> bool:
        """Claim for this worker what stands as ``claim``; whether it still did.

        Args:
            key: of the sequence.
            claim: as found.
            session: that takes the place of the one there was.
        """
        sql = (
            "UPDATE claims SET worker = ?, session = ?, since = ? "
            "WHERE key = ? AND worker = ? AND session = ?"
        )
        return self._changed(sql, self.worker, session or claim.session, time.time(), key, *claim)

    def release(self, key: str) -> None:
        """Forget a sequence that this worker has ended."""
        self._changed("DELETE FROM claims WHERE key = ? AND worker = ?", key, self.worker)

    def lose(self, key: str) -> None:
        """Note that the state of a sequence that this worker claims is lost."""
        self._leave(LOST, self.worker, key)

    def park(self, key: str) -> None:
        """Give up this worker's claim; others may go on from what is in the store."""
        self._leave(PARKED, self.worker, key)

    def park_all(self, worker: int | None = None) -> None:
        """Give up all claims of this worker, or of one that is dead."""
        self._leave(PARKED, worker or self.worker)

    def workers(self) -> list[int]:
        """Numbers of the other workers that have claims, dead ones among them."""
        found: list[int] = []
        last = 0
        with _told():
            while True:  # from one to the next in the index; DISTINCT would read all of it
                sql = "SELECT min(worker) FROM claims WHERE worker > ?"
                (last,) = self._database.execute(sql, (last,)).fetchone()
                if last is None:
                    return found
                if last != self.worker:
                    found.append(last)

    def forget(self, seconds: float) -> None:
        """Forget what nobody has had for longer than that."""
        sql = "DELETE FROM claims WHERE worker <= ? AND since < ?"
        self._changed(sql, LOST, time.time() - seconds)

    def close(self) -> None:
        """Close the file; claims stay."""
        self._database.close()

    def _leave(self, to: int, worker: int, key: str | None = None) -> None:
        sql = "UPDATE claims SET worker = ?, since = ? WHERE worker = ?"
        which = (to, time.time(), worker)
        if key is None:
            self._changed(sql, *which)
        else:
            self._changed(f"{sql} AND key = ?", *which, key)

    def _changed(self, sql: str, *values: object) -> bool:
        with _told():
            return self._database.execute(sql, values).rowcount > 0


def settle(path: Path) -> None:
    """Bring the claims of a server that has ended in order, before another one starts.

    A file that is damaged is made anew: what nobody knows of is refused as unknown.

    Raises:
        Unavailable: if it cannot be written.
    """
    try:
        _park_all(path)
    except Unavailable as e:
        if type(e.__cause__) is not sqlite3.DatabaseError:  # which is damage, and nothing else
            raise
        for each in path.parent.glob(f"{path.name}*"):
            each.unlink()
        _park_all(path)


def _park_all(path: Path) -> None:
    owners = Owners(path)
    for worker in (owners.worker, *owners.workers()):
        owners.park_all(worker)
    owners.close()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as e:
        raise Unavailable(f"the claims of sequences cannot be read or written: {e}") from e
