"""Moving aliases by the rules: to READY versions only, by degrees, and back."""

from __future__ import annotations

from sqlalchemy import Connection

from foretoken.errors import FailedPrecondition, InvalidInput, NotFound
from foretoken.server.registry import aliases
from foretoken.server.registry.lookup import alias_of, ready_version
from foretoken.server.registry.names import Ref, check_name
from foretoken.server.registry.records import Alias, Canary, Target

__all__ = ["advance", "remove", "roll_back"]


def advance(
    connection: Connection,
    ref: Ref,
    version: int,
    *,
    canary: float | None,
    expect: int | None,
    actor: str,
) -> Alias:
    """Point an alias at a version or, with a ``canary`` percentage, send a share there.

    Raises:
        InvalidInput: if the alias is not a name, or the percentage out of range.
        NotFound: if there is no such READY version.
        FailedPrecondition: if a canary is asked for and the alias points nowhere else.
        StaleGeneration: if the alias has another generation than ``expect``.
    """
    alias = check_name("alias", ref.alias or "")
    if canary is not None and not 0 < canary < 100:
        raise InvalidInput(
            f"canary {canary:g}% must lie between 0 and 100; leave it out to move the alias"
        )
    ready_version(connection, ref.name, version)
    target = Target(version)
    if canary is not None:
        standing = aliases.get(connection, ref.name, alias)
        if standing is None or standing.target.version == version:
            raise FailedPrecondition(
                f"{ref} must point at another version before {ref.name}:{version} can be its "
                "canary; set it without one"
            )
        target = Target(standing.target.version, Canary(version, canary))
    moved = aliases.move(
        connection, ref.name, alias, target, actor=actor, action="set", expect=expect
    )
    assert moved is not None
    return moved


def remove(connection: Connection, ref: Ref, *, expect: int | None, actor: str) -> None:
    """Remove an alias; its history stays.

    Raises:
        NotFound: if there is none.
        StaleGeneration: if the alias has another generation than ``expect``.
    """
    alias = alias_of(connection, ref).alias
    aliases.move(connection, ref.name, alias, None, actor=actor, action="delete", expect=expect)


def roll_back(connection: Connection, ref: Ref, *, actor: str) -> Alias:
    """Undo the last move of an alias that is not yet undone.

    Raises:
        NotFound: if there never was such an alias.
        FailedPrecondition: if there was none before, or its version is deleted.
    """
    alias = check_name("alias", ref.alias or "")
    events = aliases.history(connection, ref.name, alias)
    if not events:
        alias_of(connection, ref)  # says what is not there
    target = aliases.previous(events)
    try:
        ready_version(connection, ref.name, target.version)
        if target.canary:
            ready_version(connection, ref.name, target.canary.version)
    except NotFound as e:
        raise FailedPrecondition(
            f"{ref} cannot go back: {e}; set it with `foretoken models alias set {ref} VERSION`"
        ) from e
    moved = aliases.move(connection, ref.name, alias, target, actor=actor, action="rollback")
    assert moved is not None
    return moved
