"""Contexts in the catalogue: each function is a few statements in its caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, case, delete, func, insert, or_, select
from sqlalchemy import update as change

from foretoken.records import ContextRecord
from foretoken.server.registry import schema

__all__ = [
    "BATCH",
    "Kept",
    "StoredContext",
    "Totals",
    "add",
    "entomb",
    "expired",
    "forget_states",
    "forget_tables",
    "get",
    "get_many",
    "kept",
    "live",
    "of_tenant",
    "referenced",
    "remove",
    "totals",
    "update",
    "used_bytes",
]

BATCH = 500  # rows that are read, or named, by one statement
_C = schema.contexts.c


@dataclass(frozen=True)
class StoredContext:
    """A context as the catalogue has it.

    Args:
        record: what is told of it.
        tenant: whose it is; None: of callers without a tenant.
        manifest_digest: of the version that it was made on.
        table_digest, table_size: of the blob with its training set.
        kept_digest: of the blob with its state, if there is one.
        notes: choices that its fit made for the caller.
        problem: what is wrong with the training set's blob, empty if nothing is known to be.
        gone: when its version was deleted, and its data with it.
    """

    record: ContextRecord
    tenant: str | None
    manifest_digest: str
    table_digest: str
    table_size: int
    kept_digest: str | None
    notes: tuple[str, ...] = ()
    problem: str = ""
    gone: datetime | None = None

    @property
    def blobs(self) -> list[str]:
        """Digests of all that lies on the disk."""
        return [self.table_digest, *([self.kept_digest] if self.kept_digest else [])]


class Kept(NamedTuple):
    """A state on the disk: whose it is, its blob, and the blob's bytes."""

    context: str
    digest: str
    size: int


class Totals(NamedTuple):
    """Of all contexts of a data dir: how many, and the bytes of their tables and states."""

    contexts: int
    table: int
    state: int


def add(connection: Connection, new: StoredContext) -> None:
    """Insert a context, in the place of one of that id."""
    remove(connection, [new.record.id])
    record = new.record
    row = {
        "id": record.id,
        "tenant": new.tenant,
        "name": record.model,
        "version": record.version,
        "manifest_digest": new.manifest_digest,
        "rows": record.rows,
        "columns": list(record.columns),
        "classes": list(record.classes),
        "members": record.members,
        "nbytes": record.nbytes,
        "table_digest": new.table_digest,
        "table_size": new.table_size,
        "kept_digest": new.kept_digest,
        "kept_size": record.kept_nbytes,
        "notes": list(new.notes),
        "texts": list(record.texts),
        "problem": new.problem,
        "created": record.created,
        "used": record.used,
        "expires": record.expires,
        "gone": new.gone,
    }
    connection.execute(insert(schema.contexts).values(row))


def get(connection: Connection, context: str) -> StoredContext | None:
    """The context of that id, whoever it belongs to."""
    return get_many(connection, [context]).get(context)


def get_many(connection: Connection, ids: Sequence[str]) -> dict[str, StoredContext]:
    """Those of these ids that there are."""
    wanted = (select(schema.contexts).where(_C.id.in_(some)) for some in _batches(ids))
    return {row.id: _stored(row) for each in wanted for row in connection.execute(each)}


def of_tenant(
    connection: Connection, tenant: str | None, model: str | None, now: datetime
) -> list[StoredContext]:
    """A tenant's contexts, of one model or of all, the last used first."""
    wanted = select(schema.contexts).where(_own(tenant), _alive(now))
    if model is not None:
        wanted = wanted.where(_C.name == model)
    rows = connection.execute(wanted.order_by(_C.used.desc(), _C.id))
    return [_stored(row) for row in rows]


def used_bytes(connection: Connection, tenant: str | None, but: str, now: datetime) -> int:
    """Bytes of a tenant's contexts other than ``but``, counted as if every state were kept."""
    said = select(func.sum(_C.table_size + _C.nbytes))
    return connection.scalar(said.where(_own(tenant), _alive(now), _C.id != but)) or 0


def live(connection: Connection, name: str, version: int, now: datetime) -> list[str]:
    """Ids of the contexts that were made on a version."""
    mine = (_C.name == name) & (_C.version == version) & _alive(now)
    return list(connection.scalars(select(_C.id).where(mine)))


def kept(connection: Connection, but: str = "") -> list[Kept]:
    """States on the disk, the least recently used first: the first ``BATCH`` of them.

    Args:
        connection: in a transaction.
        but: a context that is left out.
    """
    wanted = select(_C.id, _C.kept_digest, _C.kept_size)
    wanted = wanted.where(_C.kept_digest.is_not(None), _C.id != but)
    rows = connection.execute(wanted.order_by(_C.used, _C.id).limit(BATCH))
    return [Kept(row.id, row.kept_digest, row.kept_size) for row in rows]


def expired(connection: Connection, now: datetime) -> list[StoredContext]:
    """``BATCH`` contexts whose time is over, tombs among them; or all, if there are fewer."""
    rows = connection.execute(select(schema.contexts).where(_C.expires <= now).limit(BATCH))
    return [_stored(row) for row in rows]


def totals(connection: Connection) -> Totals:
    """Sums over all contexts."""
    table = func.sum(case((_C.gone.is_(None), _C.table_size), else_=0))
    sums = select(func.count(), table, func.sum(_C.kept_size)).where(_C.gone.is_(None))
    count, tables, states = connection.execute(sums).one()
    return Totals(count, tables or 0, states or 0)


def update(connection: Connection, ids: Iterable[str], values: Mapping[str, Any]) -> None:
    """Set columns of some contexts."""
    for some in _batches(ids):
        connection.execute(change(schema.contexts).where(_C.id.in_(some)).values(**values))


def forget_states(connection: Connection) -> None:
    """Say of all contexts that their state is not on the disk."""
    connection.execute(change(schema.contexts).values(kept_digest=None, kept_size=0))


def forget_tables(connection: Connection, digests: Sequence[str]) -> None:
    """Delete the rows of contexts whose training sets these are."""
    for some in _batches(digests):
        connection.execute(delete(schema.contexts).where(_C.table_digest.in_(some)))


def entomb(connection: Connection, ids: Sequence[str], now: datetime) -> None:
    """Leave of some contexts only that they were there; their blobs are the caller's to remove."""
    nothing: dict[str, Any] = {
        "gone": now,
        "rows": 0,
        "columns": [],
        "classes": [],
        "notes": [],
        "texts": [],
        "nbytes": 0,
        "table_size": 0,
        "kept_digest": None,
        "kept_size": 0,
    }
    update(connection, ids, nothing)


def remove(connection: Connection, ids: Iterable[str]) -> None:
    """Delete the rows of some contexts; their blobs are the caller's to remove."""
    for some in _batches(ids):
        connection.execute(delete(schema.contexts).where(_C.id.in_(some)))


def referenced(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Those of ``digests`` that a context consists of."""
    alive = _C.gone.is_(None)
    tables = select(_C.table_digest).where(_C.table_digest.in_(digests), alive)
    states = select(_C.kept_digest).where(_C.kept_digest.in_(digests), alive)
    found = {*connection.scalars(tables), *connection.scalars(states)}
    return {digest for digest in found if digest is not None}


def _batches(values: Iterable[str]) -> Iterator[list[str]]:
    """What a statement can name at once: SQLite bounds how many parameters one has."""
    listed = list(values)
    return (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))


def _own(tenant: str | None) -> ColumnElement[bool]:
    return _C.tenant.is_(None) if tenant is None else _C.tenant == tenant


def _alive(now: datetime) -> ColumnElement[bool]:
    return _C.gone.is_(None) & or_(_C.expires.is_(None), _C.expires > now)


def _stored(row: Row[Any]) -> StoredContext:
    record = ContextRecord(
        id=row.id,
        model=row.name,
        version=row.version,
        rows=row.rows,
        columns=tuple(row.columns),
        classes=tuple(row.classes),
        members=row.members,
        nbytes=row.nbytes,
        kept_nbytes=row.kept_size,
        created=row.created,
        used=row.used,
        expires=row.expires,
        texts=tuple(row.texts),
    )
    return StoredContext(
        record,
        row.tenant,
        row.manifest_digest,
        row.table_digest,
        row.table_size,
        row.kept_digest,
        tuple(row.notes),
        row.problem,
        row.gone,
    )
