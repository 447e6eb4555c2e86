"""Removing a version: what must not need it any more, and what goes with it."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection

from foretoken.errors import FailedPrecondition, InvalidInput
from foretoken.server.registry import aliases, contexts, versions
from foretoken.server.registry.lookup import any_version
from foretoken.server.registry.names import Ref
from foretoken.server.registry.records import Status, Version

__all__ = ["removed"]


def removed(connection: Connection, ref: str, *, force: bool) -> tuple[Version, list[str]]:
    """Delete a version's rows; errors as for ``Registry.delete``.

    Returns:
        The version, and the ids of the contexts that were fitted with it, which the caller erases;
        there are none unless ``force``.
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
    fitted = contexts.live(connection, parsed.name, parsed.version, datetime.now(UTC))
    if fitted and not force:
        raise FailedPrecondition(
            f"{len(fitted)} contexts were fitted with {ref} and need it; delete those first, or "
            "delete it with --force, which erases them too"
        )
    versions.remove(connection, parsed.name, parsed.version)
    return version, fitted
