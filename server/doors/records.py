"""The registry's records as messages of ``foretoken.v1``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from foretoken.proto import registry as wire
from foretoken.server.admin import Shown
from foretoken.server.doors.telling import Tell
from foretoken.server.registry.options import ServingOptions
from foretoken.server.registry.records import Alias, AliasEvent, Model, Target, Version
from foretoken.server.registry.verify import FileReport

__all__ = ["alias", "event", "model", "options", "report", "shown", "version"]


def model(found: Model) -> wire.Model:
    """A model."""
    return wire.Model(
        name=found.name,
        versions=found.versions,
        latest=found.latest,
        aliases=found.aliases,
        created=found.created.timestamp(),
        owner=found.owner or "",
        served=found.served,
    )


def version(found: Version, tell: Tell) -> wire.Version:
    """A version; ``tell`` makes the reason of its status fit for callers."""
    parent = found.parent
    return wire.Version(
        name=found.name,
        number=found.number,
        manifest_digest=found.manifest_digest,
        status=found.status,
        reason=tell(found.reason),
        family=found.family,
        precision=found.precision,
        size=found.size,
        created=found.created.timestamp(),
        origin=found.origin,
        release=found.release or "",
        parent=None if parent is None else wire.Parent(**parent.record()),
        tags=found.tags,
        aliases=found.aliases,
        owner=found.owner or "",
    )


def shown(found: Shown, tell: Tell) -> wire.ShowResponse:
    """A version with all there is to know of it."""
    said = wire.ShowResponse(version=version(found.version, tell), task=found.task, kind=found.kind)
    if found.manifest is not None:
        described = found.manifest.description
        said.config = _json(described["config"])
        said.training = _json(described["training"])
        said.export = _json(described["export"])
        said.signature = _json(found.manifest.signature)
        for name, entry in sorted(found.manifest.files.items()):
            said.files.add(
                name=name, digest=entry.digest, size=entry.size, media_type=entry.media_type
            )
    if found.options is not None:
        said.options.CopyFrom(options(found.options))
    return said


def alias(found: Alias) -> wire.Alias:
    """An alias as it stands."""
    return wire.Alias(
        name=found.name,
        alias=found.alias,
        target=_target(found.target),
        generation=found.generation,
    )


def event(found: AliasEvent) -> wire.AliasEvent:
    """A move of an alias."""
    return wire.AliasEvent(
        name=found.name,
        alias=found.alias,
        generation=found.generation,
        at=found.at.timestamp(),
        actor=found.actor,
        action=found.action,
        before=_target(found.before),
        after=_target(found.after),
    )


def options(found: ServingOptions) -> wire.ServingOptions:
    """Serving options, those that are set."""
    return wire.ServingOptions(**found.said())


def report(found: FileReport, tell: Tell) -> wire.FileReport:
    """What a look at a file's bytes has found."""
    return wire.FileReport(**found.record() | {"problem": tell(found.problem)})


def _target(found: Target | None) -> wire.Target | None:
    if found is None:
        return None
    beside = found.canary
    canary = None
    if beside is not None:
        canary = wire.Canary(version=beside.version, percent=beside.percent)
    return wire.Target(version=found.version, canary=canary)


def _json(said: Mapping[str, Any]) -> str:
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
