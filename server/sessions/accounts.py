"""What states take together, and what becomes of them when their time or their version is over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)

from foretoken.server.registry.schema import Utc
from foretoken.server.sessions.saved import BATCH
from foretoken.server.sessions.schema import removed, sessions, snapshots

__all__ = [
    "Totals",
    "entomb",
    "expire",
    "gone",
    "live",
    "overdue",
    "totals",
    "used_bytes",
    "versions",
]

TOMB = timedelta(days=7)  # of what would never have expired
_BOTH = ((snapshots, snapshots.c.id), (sessions, sessions.c.session))


class Totals(NamedTuple):
    """Of a data dir: how many snapshots and sessions' states, and the bytes of each."""

    snapshots: int
    snapshot_bytes: int
    sessions: int
    session_bytes: int


def totals(connection: Connection) -> Totals:
    """Sums over all tenants."""
    (kept, kept_bytes), (saved, saved_bytes) = (
        connection.execute(
            select(func.count(), func.sum(table.c.size)).where(table.c.gone.is_(None))
        ).one()
        for table, _ in _BOTH
    )
    return Totals(kept, kept_bytes or 0, saved, saved_bytes or 0)


def used_bytes(connection: Connection, tenant: str | None) -> int:
    """Bytes of a tenant's snapshots and sessions' states."""
    return sum(
        connection.scalar(select(func.sum(table.c.size)).where(_own(table, tenant))) or 0
        for table, _ in _BOTH
    )


def overdue(connection: Connection, now: datetime) -> bool:
    """Whether there are any whose time is over."""
    return any(
        connection.scalar(select(key).where(table.c.expires <= now).limit(1)) is not None
        for table, key in _BOTH
    )


def expire(connection: Connection, now: datetime) -> int:
    """Delete those whose time is over, tombs among them, ``BATCH`` of each kind; how many."""
    deleted = 0
    for table, key in _BOTH:
        some = select(key).where(table.c.expires <= now).limit(BATCH)
        deleted += connection.execute(delete(table).where(key.in_(some))).rowcount
    return deleted


def live(connection: Connection, name: str, version: int, now: datetime) -> list[str]:
    """Ids of the snapshots and sessions that only a version can go on from."""
    return [
        found
        for table, key in _BOTH
        for found in connection.scalars(
            select(key).where(
                _of(table, name, version),
                table.c.gone.is_(None),
                or_(table.c.expires.is_(None), table.c.expires > now),
            )
        )
    ]


def entomb(connection: Connection, name: str, version: int, now: datetime) -> None:
    """Erase a version's states but for that they were there; no more of them are written."""
    for table, _ in _BOTH:
        nothing: dict[str, Any] = {
            "gone": now,
            "data": b"",
            "size": 0,
            "expires": func.coalesce(table.c.expires, literal(now + TOMB, Utc)),
        }
        alive = _of(table, name, version) & table.c.gone.is_(None)
        connection.execute(update(table).where(alive).values(nothing))
    if not gone(connection, name, version):
        connection.execute(insert(removed).values(name=name, version=version))


def gone(connection: Connection, name: str, version: int) -> bool:
    """Whether a version was deleted."""
    mine = (removed.c.name == name) & (removed.c.version == version)
    return connection.scalar(select(removed.c.version).where(mine)) is not None


def versions(connection: Connection) -> list[tuple[str, int]]:
    """Versions whose states are there."""
    named = (
        select(table.c.name, table.c.version).where(table.c.gone.is_(None)) for table, _ in _BOTH
    )
    return [(name, version) for name, version in connection.execute(union(*named))]


def _own(table: Table, tenant: str | None) -> ColumnElement[bool]:
    mine = table.c.tenant.is_(None) if tenant is None else table.c.tenant == tenant
    return mine & table.c.gone.is_(None)


def _of(table: Table, name: str, version: int) -> ColumnElement[bool]:
    return (table.c.name == name) & (table.c.version == version)
