"""Registered models in the catalogue: their listing, owners and serving options."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from foretoken.server.registry import schema
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.records import Model, Status

__all__ = ["exists", "override", "page", "row", "set_override", "set_served", "unserved"]


def page(
    connection: Connection, after: str | None, limit: int, tenants: AbstractSet[str] | None = None
) -> list[Model]:
    """Up to ``limit`` models that have a READY version, by name, beginning behind ``after``.

    With ``tenants``, only those that are everybody's or belong to one of them.
    """
    m, v = schema.registered_models.c, schema.model_versions.c
    theirs = (v.name == m.name) & (v.status == Status.READY)
    count = select(func.count()).where(theirs).scalar_subquery()
    latest = select(func.max(v.version)).where(theirs).scalar_subquery()
    wanted = select(
        m.name, m.created, m.owner, m.served, count.label("versions"), latest.label("latest")
    ).where(select(v.version).where(theirs).exists())
    if tenants is not None:
        wanted = wanted.where(or_(m.owner.is_(None), m.owner.in_(tenants)))
    if after is not None:
        wanted = wanted.where(m.name > after)
    rows = connection.execute(wanted.order_by(m.name).limit(limit)).all()
    aliases = _aliases(connection, [row.name for row in rows])
    return [
        Model(
            row.name,
            row.versions,
            row.latest,
            aliases[row.name],
            row.created,
            row.owner,
            row.served,
        )
        for row in rows
    ]


def _aliases(connection: Connection, names: list[str]) -> dict[str, dict[str, int]]:
    a = schema.aliases.c
    found: dict[str, dict[str, int]] = defaultdict(dict)
    theirs = select(a.name, a.alias, a.version).where(a.name.in_(names)).order_by(a.alias)
    for row in connection.execute(theirs):
        found[row.name][row.alias] = row.version
    return found


def exists(connection: Connection, name: str) -> bool:
    """Whether the model has a READY version."""
    v = schema.model_versions.c
    some = select(v.version).where(v.name == name, v.status == Status.READY).limit(1)
    return connection.scalar(some) is not None


def row(connection: Connection, name: str) -> Row[Any, Any] | None:
    """The model's row, also while it has no READY version."""
    m = schema.registered_models.c
    return connection.execute(select(m.owner, m.served).where(m.name == name)).one_or_none()


def set_served(connection: Connection, name: str, served: bool) -> None:
    """Note whether the model is served."""
    table = schema.registered_models
    connection.execute(update(table).where(table.c.name == name).values(served=served))


def unserved(connection: Connection) -> frozenset[str]:
    """The models that are not served."""
    m = schema.registered_models.c
    return frozenset(connection.scalars(select(m.name).where(~m.served)))


def override(connection: Connection, name: str) -> ServingOptions:
    """The options set for all versions of the model, over their own."""
    o = schema.model_options.c
    said = connection.scalar(select(o.serving).where(o.name == name))
    return ServingOptions.parse(said or {})


def set_override(connection: Connection, name: str, options: ServingOptions, actor: str) -> None:
    """Put ``options`` in the place of those set for the model before."""
    table = schema.model_options
    connection.execute(delete(table).where(table.c.name == name))
    if said := options.said():
        row = {"name": name, "serving": said, "changed": datetime.now(UTC), "actor": actor}
        connection.execute(insert(table).values(row))
