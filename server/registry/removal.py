"""Removing a version: what must not need it any more, and what goes with it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.server.registry import aliases, contexts, versions
from foretoken.server.registry.lookup import any_version
from foretoken.server.registry.names import Ref
from foretoken.server.registry.records import Status, Version
from foretoken.server.sessions import accounts
from foretoken.server.sessions.pins import pinned

__all__ = ["removed"]


def removed(
    connection: Connection, states: Connection, ref: str, *, force: bool
) -> tuple[Version, list[str]]:
    """Delete a version's rows; errors as for ``Registry.delete``.

    Args:
        connection: of the catalogue, in a transaction.
        states: of the sessions' states, in a transaction that nobody writes beside.
        ref: of the version.
        force: even if something needs it.

    Returns:
        The version, and the ids of the contexts that were fitted with it. The caller erases those,
        and the states of its sessions; there are none unless ``force``.
    """
    parsed = Ref.parse(ref)
    if parsed.version is None:
        raise InvalidInput(f"{ref!r} names no single version; delete takes NAME:VERSION")
    version = any_version(connection, parsed.name, parsed.version)
    if version.status is Status.PENDING:
        raise FailedPrecondition(
            f"{ref} is being registered; `foretoken models gc` ends it if its process died"
        )
    if held := aliases.pointing_at(connection, parsed.name, parsed.version):
        names = ", ".join(f"{alias}@{parsed.name}" for alias in held)
        raise FailedPrecondition(
            f"{ref} is what {names} points at; move that with `foretoken models alias set "
            f"{held[0]}@{parsed.name} VERSION`, or delete it, first"
        )
    now = datetime.now(UTC)
    fitted = contexts.live(connection, parsed.name, parsed.version, now)
    going = accounts.live(states, parsed.name, parsed.version, now)
    stepped = pinned(states, parsed.name, parsed.version, now)
    if (fitted or going or stepped) and not force:
        needs = [f"{len(fitted)} contexts were fitted with {ref}"] if fitted else []
        needs += [f"{len(going)} sessions and snapshots go on from {ref}"] if going else []
        needs += [f"{stepped} sessions are open on {ref}"] if stepped else []
        raise FailedPrecondition(
            f"{' and '.join(needs)}, and need it; delete those first, or delete it with --force, "
            "which erases them too"
        )
    versions.remove(connection, parsed.name, parsed.version)
    return version, fitted
