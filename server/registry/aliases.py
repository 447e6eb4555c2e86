"""Aliases in the catalogue: compare-and-set moves, each recorded, and the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from foretoken.errors import FailedPrecondition, StaleGeneration
from foretoken.server.registry import schema
from foretoken.server.registry.records import Alias, AliasEvent, Canary, Target

__all__ = ["get", "history", "move", "of_model", "pick", "pointing_at", "previous"]

_A = schema.aliases.c
_E = schema.alias_events.c


def get(connection: Connection, name: str, alias: str) -> Alias | None:
    """The alias as it stands."""
    this = (_A.name == name) & (_A.alias == alias)
    row = connection.execute(select(schema.aliases).where(this)).one_or_none()
    return _alias(row) if row else None


def of_model(connection: Connection, name: str) -> list[Alias]:
    """All aliases of a model, in alphabetical order."""
    theirs = select(schema.aliases).where(_A.name == name).order_by(_A.alias)
    return [_alias(row) for row in connection.execute(theirs)]


def pointing_at(connection: Connection, name: str, version: int) -> list[str]:
    """Aliases of which the version is target or canary."""
    at = or_(_A.version == version, _A.canary_version == version)
    theirs = select(_A.alias).where(_A.name == name, at).order_by(_A.alias)
    return list(connection.scalars(theirs))


def move(
    connection: Connection,
    name: str,
    alias: str,
    after: Target | None,
    *,
    actor: str,
    action: str,
    expect: int | None = None,
) -> Alias | None:
    """Point the alias at ``after`` (``None`` removes it) and record that.

    Args:
        connection: a write transaction.
        name: of the model.
        alias: to move; it is made if need be.
        after: what it is to point at.
        actor: who moves it.
        action: "set", "rollback" or "delete".
        expect: generation that it must have, 0 for "it must not exist".

    Returns:
        The alias as it stands then; a move to where it points already is none and not recorded.

    Raises:
        StaleGeneration: if the alias has another generation than ``expect``.
    """
    now = get(connection, name, alias)
    standing = now.generation if now else 0
    if expect is not None and expect != standing:
        raise StaleGeneration(
            f"{alias}@{name} has generation {standing}, not {expect}: someone moved it; "
            "read it again and decide anew"
        )
    before = now.target if now else None
    if after == before:
        return now
    event = (_E.name == name) & (_E.alias == alias)
    last = connection.scalar(select(func.max(_E.generation)).where(event)) or 0
    _put(connection, name, alias, after, last + 1)
    connection.execute(
        insert(schema.alias_events).values(
            name=name,
            alias=alias,
            generation=last + 1,
            at=datetime.now(UTC),
            actor=actor,
            action=action,
            **_columns("from_", before),
            **_columns("to_", after),
        )
    )
    return Alias(name, alias, after, last + 1) if after else None


def _put(
    connection: Connection, name: str, alias: str, target: Target | None, generation: int
) -> None:
    this = (_A.name == name) & (_A.alias == alias)
    values = {"generation": generation, **_columns("", target)}
    if target is None:
        connection.execute(delete(schema.aliases).where(this))
    elif not connection.execute(update(schema.aliases).where(this).values(values)).rowcount:
        connection.execute(insert(schema.aliases).values(name=name, alias=alias, **values))


def history(connection: Connection, name: str, alias: str | None = None) -> list[AliasEvent]:
    """Every move of the model's aliases, or of one of them, oldest first."""
    theirs = _E.name == name
    if alias is not None:
        theirs &= _E.alias == alias
    rows = connection.execute(select(schema.alias_events).where(theirs).order_by(_E.id))
    return [
        AliasEvent(
            name=row.name,
            alias=row.alias,
            generation=row.generation,
            at=row.at,
            actor=row.actor,
            action=row.action,
            before=_target(row.from_version, row.from_canary_version, row.from_canary_percent),
            after=_target(row.to_version, row.to_canary_version, row.to_canary_percent),
        )
        for row in rows
    ]


def previous(events: Iterable[AliasEvent]) -> Target:
    """Where a rollback leads to: what the alias pointed at before its last move not yet undone.

    Args:
        events: of one alias, oldest first.

    Raises:
        FailedPrecondition: if there was nothing before.
    """
    past: list[Target] = []  # what it pointed at, rollbacks undone; its present is on top
    present: Target | None = None
    for event in events:
        if event.action == "rollback":
            while past and past[-1] != event.after:
                past.pop()
            past = past[:-1]
        elif present is not None:
            past.append(present)
        present = event.after
    while past and past[-1] == present:  # as when it was deleted and made again
        past.pop()
    if not past:
        raise FailedPrecondition(
            "the alias has pointed at nothing before; move it with `foretoken models alias set`"
        )
    return past[-1]


def pick(alias: Alias, key: str | bytes | None) -> int:
    """Which version of the alias a request goes to.

    With a canary, a request with a ``key`` goes by the first 8 bytes of SHA-256 over model, alias,
    canary and key, as a fraction of 2^64: the same key always to the same side, and a growing
    percentage only ever moves keys to the canary. Without a key there is no canary.
    """
    target = alias.target
    if target.canary is None or key is None:
        return target.version
    raw = key.encode() if isinstance(key, str) else key
    salt = f"{alias.name}\0{alias.alias}\0{target.canary.version}\0".encode()
    share = int.from_bytes(hashlib.sha256(salt + raw).digest()[:8], "big") / 2.0**64
    return target.canary.version if share * 100 < target.canary.percent else target.version


def _alias(row: Row[Any]) -> Alias:
    target = _target(row.version, row.canary_version, row.canary_percent)
    assert target is not None
    return Alias(row.name, row.alias, target, row.generation)


def _target(version: int | None, canary: int | None, percent: float | None) -> Target | None:
    if version is None:
        return None
    beside = None if canary is None or percent is None else Canary(canary, percent)
    return Target(version, beside)


def _columns(prefix: str, target: Target | None) -> dict[str, Any]:
    canary = target.canary if target else None
    return {
        f"{prefix}version": target.version if target else None,
        f"{prefix}canary_version": canary.version if canary else None,
        f"{prefix}canary_percent": canary.percent if canary else None,
    }
