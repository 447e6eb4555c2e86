"""Snapshots on the disk, which users took: named by their content, counted, erased when unused."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from foretoken.errors import DataLoss, NotFound
from foretoken.records import SnapshotRecord
from foretoken.server.contexts.identity import tenant_key
from foretoken.server.registry.lookup import PAGE, page_of
from foretoken.server.registry.sqlite import Database
from foretoken.server.sessions import snapshots
from foretoken.server.sessions.keeping import (
    Budgets,
    States,
    deleted,
    expect_room,
    expect_version,
)
from foretoken.server.sessions.snapshots import StoredSnapshot, expiry
from foretoken.server.sessions.state import Snapshot, to_bytes

__all__ = ["KeptSnapshots", "no_snapshot"]

PREFIX = "snap-"
_ID = re.compile(f"{PREFIX}[0-9a-f]{{64}}")
_NOTED = timedelta(minutes=1)  # a use that comes sooner after the last one is not written down
_PER_TTL = 10  # nor is one that comes within this part of the time to live


def no_snapshot(snapshot: str) -> NotFound:
    """What is said of a snapshot that is not there, or is another tenant's."""
    if not _ID.fullmatch(snapshot):
        return NotFound(
            f"{snapshot[:80]!r} is not the digest of a snapshot, which is {PREFIX} and 64 hex "
            "digits: give one that taking a snapshot has returned, or that `foretoken snapshots "
            "list` shows"
        )
    return NotFound(
        f"no snapshot {snapshot!r}; it was deleted, has expired or never was: begin a new session"
    )


class KeptSnapshots(States):
    """The snapshots of a data dir.

    Args:
        database: see ``States``.
        secret: what ids are salted with; the data dir's own.
    """

    def __init__(self, database: Database, secret: Callable[[], bytes]) -> None:
        super().__init__(database)
        self._secret = secret

    def keep(self, snapshot: Snapshot, tenant: str | None, budgets: Budgets) -> SnapshotRecord:
        """Keep a snapshot; the same state of one tenant is one snapshot.

        Raises:
            FailedPrecondition: if its version has been deleted.
            Overloaded: if the tenant's quota does not allow it.
            Unavailable: if the data dir cannot be written.
        """
        data, now = to_bytes(snapshot), datetime.now(UTC)
        record = SnapshotRecord(
            self._named(tenant, data),
            snapshot.model,
            snapshot.version,
            snapshot.step,
            len(data),
            created=now,
            used=now,
            expires=expiry(now, budgets.ttl),
        )
        with self.writing() as connection:
            expect_version(connection, snapshot.model, snapshot.version)
            known = snapshots.get(connection, record.id)
            if known is not None and known.gone is None and not known.over(now):
                record = replace(record, created=known.record.created)
            else:
                expect_room(connection, tenant, len(data), budgets, now)
            new = StoredSnapshot(record, tenant, snapshot.manifest, budgets.ttl)
            snapshots.add(connection, new, data)
        return record

    def find(self, snapshot: str, tenant: str | None) -> SnapshotRecord:
        """A tenant's snapshot.

        Raises:
            NotFound: if there is none, or it has expired.
            FailedPrecondition: if its version was deleted, and its data with it.
        """
        with self._database.read() as connection:
            return _expect_snapshot(connection, snapshot, tenant, datetime.now(UTC)).record

    def read(self, snapshot: str, tenant: str | None) -> bytes:
        """The bytes of a tenant's snapshot, which counts as a use; errors as for ``find``.

        Raises:
            DataLoss: if they are not those that were kept.
        """
        now = datetime.now(UTC)
        with self._database.read() as connection:
            stored = _expect_snapshot(connection, snapshot, tenant, now)
            data = snapshots.data(connection, snapshot)
        if not hmac.compare_digest(self._named(tenant, data), snapshot):
            raise DataLoss(
                f"snapshot {snapshot}: its bytes in {self._database.path} are not those that were "
                "kept; delete it"
            )
        within = timedelta(seconds=stored.ttl / _PER_TTL) if stored.ttl else _NOTED
        if now - stored.record.used >= min(within, _NOTED):
            with self.writing() as connection:
                snapshots.touch(connection, stored, now)
        return data

    def list(
        self,
        tenant: str | None,
        model: str | None = None,
        after: str | None = None,
        limit: int = PAGE,
    ) -> Sequence[SnapshotRecord]:
        """A page of a tenant's snapshots, of one model or of all, the last used first.

        Args:
            tenant: whose.
            model: of this one only.
            after: id of the last one of the page before.
            limit: length of the page.

        Raises:
            NotFound: if ``after`` is not there any more; list from the beginning then.
            InvalidInput: if ``limit`` is out of range.
        """
        now = datetime.now(UTC)
        with self._database.read() as connection:
            last = after and _expect_snapshot(connection, after, tenant, now).record
            return snapshots.page(connection, tenant, model, now, last or None, page_of(limit))

    def delete(self, snapshot: str, tenant: str | None) -> None:
        """Erase a tenant's snapshot.

        Raises:
            NotFound: if there is none.
        """
        with self.writing() as connection:
            found = snapshots.get(connection, snapshot)
            if found is None or found.tenant != tenant or found.over(datetime.now(UTC)):
                raise no_snapshot(snapshot)
            snapshots.remove(connection, snapshot)

    def _named(self, tenant: str | None, data: bytes) -> str:
        key = tenant_key(self._secret(), tenant)
        return PREFIX + hmac.digest(key, b"snapshot " + data, "sha256").hex()


def _expect_snapshot(
    connection: Connection, snapshot: str, tenant: str | None, now: datetime
) -> StoredSnapshot:
    found = snapshots.get(connection, snapshot)
    if found is None or found.tenant != tenant or found.over(now):
        raise no_snapshot(snapshot)
    if found.gone is not None:
        raise deleted(f"snapshot {snapshot}", found.record.model, found.record.version)
    return found
