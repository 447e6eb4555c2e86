"""What the registry tells about models, versions and aliases: frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from foretoken.records import (
    Alias,
    AliasEvent,
    Canary,
    Model,
    Origin,
    Parent,
    Record,
    Relation,
    Status,
    Target,
    Version,
)

__all__ = [
    "Alias",
    "AliasEvent",
    "Canary",
    "Model",
    "Origin",
    "Parent",
    "Record",
    "Relation",
    "Status",
    "Target",
    "Token",
    "Version",
]


@dataclass(frozen=True)
class Token(Record):
    """A token as far as it is known: never the secret itself.

    Args:
        id: its number, never given out twice.
        name: unlike any other's, also of those that are revoked: it stands in histories.
        scopes: what its bearer may do.
        tenant: whose objects the bearer makes and sees beside everybody's.
        rate: calls per second that it may make on the whole server; None: any number.
        burst: calls that it may make at once after a pause.
        created: when, UTC.
        actor: who made it.
        expires: when it ceases to be valid, UTC.
        revoked: when it was revoked, UTC.
    """

    id: int
    name: str
    scopes: tuple[str, ...]
    tenant: str | None
    rate: float | None
    burst: int | None
    created: datetime
    actor: str
    expires: datetime | None = None
    revoked: datetime | None = None
