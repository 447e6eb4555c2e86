"""The registry's operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from foretoken.client.describe import (
    ModelInfo,
    alias_of,
    event_of,
    info_of,
    model_of,
    options_of,
    report_of,
    version_of,
)
from foretoken.client.methods import method
from foretoken.client.operations import Steps, Unary, Upload, message
from foretoken.client.upload import Progress, upload
from foretoken.errors import DataLoss, DeadlineExceeded, InvalidInput, Overloaded, Unavailable
from foretoken.proto import health
from foretoken.proto import registry as wire
from foretoken.records import Alias, AliasEvent, FileReport, Model, Version

__all__ = [
    "aliases",
    "delete",
    "delete_alias",
    "history",
    "load",
    "model",
    "models",
    "options",
    "ready",
    "register",
    "rollback",
    "set_alias",
    "set_options",
    "unload",
    "verify",
    "versions",
]

PAGE = 1000


def models(after: str | None, limit: int | None) -> Steps[list[Model]]:
    """Registered models by name, beginning behind ``after``: all of them, or ``limit``.

    Raises:
        InvalidInput: if ``limit`` is below 1.
    """
    found: list[Model] = []
    while True:
        request = message(wire.ListRequest, after=after, limit=_page(limit, len(found)))
        reply = yield Unary(method("Registry.List"), request)
        found += map(model_of, reply.models)
        after = reply.next
        if not after or len(found) == limit:
            return found


def versions(
    name: str, after: int | None, limit: int | None, unready: bool
) -> Steps[list[Version]]:
    """Versions of a model, newest first, beginning below ``after``: all of them, or ``limit``.

    Raises:
        InvalidInput: if ``limit`` is below 1.
    """
    found: list[Version] = []
    while True:
        request = message(
            wire.VersionsRequest,
            name=name,
            after=after,
            limit=_page(limit, len(found)),
            unready=unready,
        )
        reply = yield Unary(method("Registry.Versions"), request)
        found += map(version_of, reply.versions)
        after = reply.next
        if not after or len(found) == limit:
            return found


def model(ref: str) -> Steps[ModelInfo]:
    """What a reference points at."""
    return info_of((yield _unary("Show", wire.ShowRequest, ref=ref)))


def aliases(name: str) -> Steps[list[Alias]]:
    """All aliases of a model."""
    reply = yield _unary("Aliases", wire.AliasesRequest, name=name)
    return [alias_of(said) for said in reply.aliases]


def set_alias(
    name: str, alias: str, version: int, canary: float | None, expect_generation: int | None
) -> Steps[Alias]:
    """Point an alias at a version, or send it a share of the traffic."""
    reply = yield _unary(
        "SetAlias",
        wire.SetAliasRequest,
        name=name,
        alias=alias,
        version=version,
        canary=canary,
        expect_generation=expect_generation,
    )
    return alias_of(reply)


def delete_alias(name: str, alias: str, expect_generation: int | None) -> Steps[None]:
    """Remove an alias."""
    yield _unary(
        "DeleteAlias",
        wire.DeleteAliasRequest,
        name=name,
        alias=alias,
        expect_generation=expect_generation,
    )


def history(name: str, alias: str | None) -> Steps[list[AliasEvent]]:
    """Every move of a model's aliases, oldest first."""
    reply = yield _unary("History", wire.HistoryRequest, name=name, alias=alias)
    return [event_of(said) for said in reply.events]


def rollback(name: str, alias: str) -> Steps[Alias]:
    """Undo the last move of an alias."""
    return alias_of((yield _unary("Rollback", wire.RollbackRequest, name=name, alias=alias)))


def register(
    name: str,
    folder: Path,
    tags: Mapping[str, str] | None,
    parent: str | None,
    relation: str | None,
    progress: Progress | None,
) -> Steps[Version]:
    """Send an artefact folder."""
    messages = upload(name, Path(folder), tags or {}, parent, relation, progress)
    return version_of((yield Upload(method("Registry.Register"), messages)))


def delete(ref: str, force: bool) -> Steps[Version]:
    """Delete a version."""
    return version_of((yield _unary("Delete", wire.DeleteRequest, ref=ref, force=force)))


def verify(ref: str | None, heard: Callable[[FileReport], None] | None) -> Steps[list[FileReport]]:
    """Have stored files hashed again, page by page."""
    found: list[FileReport] = []
    after: str | None = None
    while True:
        reply = yield _unary("Verify", wire.VerifyRequest, ref=ref, after=after)
        for report in map(report_of, reply.reports):
            found.append(report)
            if heard is not None:
                heard(report)
        after = reply.next
        if not after:
            return found


def options(name: str) -> Steps[dict[str, Any]]:
    """The serving options that are set for all versions of a model."""
    return options_of((yield _unary("GetOptions", wire.GetOptionsRequest, name=name)))


def set_options(name: str, given: Mapping[str, Any]) -> Steps[dict[str, Any]]:
    """Set the serving options of a model, in the place of those set before."""
    said = message(wire.ServingOptions, **given)
    return options_of((yield _unary("SetOptions", wire.SetOptionsRequest, name=name, options=said)))


def load(name: str) -> Steps[None]:
    """Have a model served."""
    yield _unary("Load", wire.LoadRequest, name=name)


def unload(name: str) -> Steps[None]:
    """Have a model served no longer."""
    yield _unary("Unload", wire.UnloadRequest, name=name)


def ready(name: str) -> Steps[bool]:
    """Whether the server, or one model of it, would answer."""
    request = message(health.HealthCheckRequest, service=name)
    try:
        reply = yield Unary(method("Health.Check"), request)
    except (Unavailable, Overloaded, DeadlineExceeded, DataLoss):
        return False
    return bool(reply.status == health.HealthCheckResponse.SERVING)


def _unary(called: str, kind: type[Message], /, **fields: Any) -> Unary:
    return Unary(method(f"Registry.{called}"), message(kind, **fields))


def _page(limit: int | None, found: int) -> int:
    if limit is not None and limit < 1:  # on the wire, 0 asks for the server's usual page
        raise InvalidInput(f"limit is {limit}; give 1 or more, or None for all there are")
    return PAGE if limit is None else min(PAGE, limit - found)
