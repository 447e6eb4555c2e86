"""Snapshots in their database: each function is a few statements in its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    insert,
    or_,
    select,
    update,
)

from foretoken.records import SnapshotRecord
from foretoken.server.sessions.schema import snapshots

__all__ = ["StoredSnapshot", "add", "data", "expiry", "get", "page", "remove", "touch"]

_C = snapshots.c
_TOLD = (_C.id, _C.name, _C.version, _C.step, _C.size, _C.created, _C.used, _C.expires)
_META: Select[Any] = select(*_TOLD, _C.tenant, _C.manifest, _C.ttl, _C.gone)


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot as the database has it, but for its data.

    Args:
        record: what is told of it.
        tenant: whose it is; None: of callers without a tenant.
        manifest: digest of the manifest of its version.
        ttl: seconds since its last use; 0: for ever.
        gone: when its version was deleted, and its data with it.
    """

    record: SnapshotRecord
    tenant: str | None
    manifest: str
    ttl: float
    gone: datetime | None = None

    def over(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.record.expires is not None and self.record.expires <= now


def expiry(used: datetime, ttl: float) -> datetime | None:
    """When a state ends that was used last at ``used``; ``ttl`` 0: never."""
    return used + timedelta(seconds=ttl) if ttl else None


def add(connection: Connection, new: StoredSnapshot, data: bytes) -> None:
    """Insert a snapshot, in the place of one of that id."""
    record = new.record
    remove(connection, record.id)
    row = {
        "id": record.id,
        "tenant": new.tenant,
        "name": record.model,
        "version": record.version,
        "manifest": new.manifest,
        "step": record.step,
        "size": record.nbytes,
        "ttl": new.ttl,
        "created": record.created,
        "used": record.used,
        "expires": record.expires,
        "gone": new.gone,
        "data": data,
    }
    connection.execute(insert(snapshots).values(row))


def get(connection: Connection, snapshot: str) -> StoredSnapshot | None:
    """The snapshot of that id, whoever it belongs to."""
    row = connection.execute(_META.where(_C.id == snapshot)).one_or_none()
    return None if row is None else _stored(row)


def data(connection: Connection, snapshot: str) -> bytes:
    """The bytes of a snapshot that is there."""
    said: bytes = connection.execute(select(_C.data).where(_C.id == snapshot)).scalar_one()
    return said


def page(
    connection: Connection,
    tenant: str | None,
    model: str | None,
    now: datetime,
    after: SnapshotRecord | None,
    limit: int,
) -> Sequence[SnapshotRecord]:
    """A tenant's snapshots, of one model or of all, the last used first, behind ``after``."""
    wanted = _META.where(
        _C.tenant.is_(None) if tenant is None else _C.tenant == tenant,
        _C.gone.is_(None),
        or_(_C.expires.is_(None), _C.expires > now),
    )
    if model is not None:
        wanted = wanted.where(_C.name == model)
    if after is not None:
        wanted = wanted.where(_behind(after))
    rows = connection.execute(wanted.order_by(_C.used.desc(), _C.id).limit(limit))
    return [_stored(row).record for row in rows]


def touch(connection: Connection, stored: StoredSnapshot, now: datetime) -> None:
    """Note that a snapshot is used."""
    values = {"used": now, "expires": expiry(now, stored.ttl)}
    connection.execute(update(snapshots).where(_C.id == stored.record.id).values(values))


def remove(connection: Connection, snapshot: str) -> None:
    """Delete a snapshot, if it is there."""
    connection.execute(delete(snapshots).where(_C.id == snapshot))


def _behind(after: SnapshotRecord) -> ColumnElement[bool]:
    return or_(_C.used < after.used, and_(_C.used == after.used, _C.id > after.id))


def _stored(row: Row[Any]) -> StoredSnapshot:
    record = SnapshotRecord(*row[: len(_TOLD)])
    return StoredSnapshot(record, row.tenant, row.manifest, row.ttl, row.gone)
