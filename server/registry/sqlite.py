"""Everything that is peculiar to SQLite; no other module knows which database there is.

Peculiarities: the driver's own idea of transactions is switched off, and every transaction says
how it begins (a writer takes the write lock at once, so it never fails half-way); WAL, so that
readers see a snapshot beside a writer; ``synchronous=FULL``, so that a commit that returned is on
the disk; foreign keys, which are off unless asked for.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from foretoken.errors import DataLoss, ForetokenError, Unavailable

__all__ = ["Database"]

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR")
_ELSEWHERE = (
    "SQLITE_BUSY",
    "SQLITE_LOCKED",
    "SQLITE_FULL",
    "SQLITE_READONLY",
    "SQLITE_CANTOPEN",
    "SQLITE_PERM",
)


class Database:
    """One SQLite file, shared by threads and processes.

    Args:
        path: the file; it is made on first use.
        patience: seconds to wait for another process's write before giving up.
        name: what errors call it.
        pragmas: of each connection, beside those that all databases have.
    """

    def __init__(
        self,
        path: Path,
        patience: float = 30.0,
        *,
        name: str = "the catalogue",
        pragmas: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._patience = patience
        self._name = name
        self._pragmas = ("synchronous=FULL", "foreign_keys=ON", *pragmas)
        self._errors = _Errors(f"{name} {path}")
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": patience},
            max_overflow=-1,  # threads beyond the pool get connections of their own, not a wait
        )
        event.listen(self.engine, "connect", self._configure)
        event.listen(self.engine, "begin", _begin)
        self._watching = threading.Lock()
        self._watcher: sqlite3.Connection | None = None
        self._writer = self.engine.execution_options(begin="IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the catalogue throughout.

        Raises:
            DataLoss: if the file is damaged.
            Unavailable: if it cannot be opened.
        """
        with self._errors, self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only writer's transaction: durable once it has returned, undone if it raises.

        Raises:
            DataLoss: if the file is damaged.
            Unavailable: if the disk is full or read-only, or another writer takes too long.
        """
        with self._errors, self._writer.begin() as connection:
            yield connection

    def state(self) -> int:
        """A number that is another one after any commit, by this process or not; cheap to ask.

        Raises:
            DataLoss: if the file is damaged.
            Unavailable: if it cannot be opened.
        """
        with self._errors, self._watching:
            if self._watcher is None:  # sees all commits as foreign, for it makes none itself
                self._watcher = self._connect(self.path)
            number: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
            return number

    def copy_to(self, target: Path) -> None:
        """Write a consistent copy of the committed state, while others read and write.

        Raises:
            DataLoss: if this file or the copy is damaged.
            Unavailable: if the copy cannot be written.
        """
        with (
            self._errors,
            closing(self._connect(self.path)) as source,
            closing(self._connect(target)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
            _check(copy, f"{self._name} {target}")

    def replace_by(self, source: Path) -> None:
        """Make this database's content that of ``source``, in one transaction.

        Raises:
            DataLoss: if ``source`` is damaged; nothing has changed then.
            Unavailable: if others keep the database busy.
        """
        with self._errors, closing(self._connect(source)) as copy:
            _check(copy, f"{self._name} {source}")
            with closing(self._connect(self.path)) as own:
                own.execute("PRAGMA journal_mode=WAL")
                own.execute("PRAGMA synchronous=FULL")
                copy.backup(own)

    def schema_version(self, connection: Connection) -> int:
        """A number that is the owner's to set; 0 in a new file."""
        number: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        return number

    def set_schema_version(self, connection: Connection, number: int) -> None:
        """Set it, within the connection's transaction."""
        connection.exec_driver_sql(f"PRAGMA user_version={number:d}")

    def forbid_changes(self, connection: Connection, table: str) -> None:
        """Make ``table`` append-only: rows can be added, never changed or removed."""
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None

    def _connect(self, path: Path) -> sqlite3.Connection:
        return sqlite3.connect(
            path, timeout=self._patience, isolation_level=None, check_same_thread=False
        )

    def _configure(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        self._enter_wal(connection)
        for pragma in self._pragmas:
            connection.execute(f"PRAGMA {pragma}")

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite does not wait by itself when several processes try at once."""
        deadline = time.monotonic() + self._patience
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as e:
                if e.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return


class _Errors:
    """Turns SQLite's errors into ours; not a generator, for requests ask ``Database.state``."""

    __slots__ = ("_what",)

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DBAPIError | sqlite3.Error):
            cause = error.orig if isinstance(error, DBAPIError) else error
            if (known := _translate(cause, self._what)) is not None:
                raise known from error


def _begin(connection: Connection) -> None:
    how = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {how}")


def _check(connection: sqlite3.Connection, what: str) -> None:
    (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if said != "ok":
        raise DataLoss(f"{what} is damaged ({said}); restore it from a backup")


def _translate(cause: Any, what: str) -> ForetokenError | None:
    code = getattr(cause, "sqlite_errorname", "")
    if code.startswith(_DAMAGED):
        return DataLoss(f"{what} is damaged ({cause}); restore it from a backup")
    if code.startswith(_ELSEWHERE):
        return Unavailable(f"{what} cannot be used now ({cause})")
    return None
