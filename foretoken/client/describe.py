"""What the registry's replies say, as records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from foretoken.errors import InternalError, Unsupported
from foretoken.proto import registry
from foretoken.records import (
    Alias,
    AliasEvent,
    Canary,
    FileReport,
    Model,
    Origin,
    Parent,
    Record,
    Relation,
    Status,
    Target,
    Version,
)

__all__ = ["ModelInfo", "alias_of", "event_of", "info_of", "model_of", "report_of", "version_of"]

E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class ModelInfo(Record):
    """What a version is.

    Args:
        name: of the registered model.
        version: its number.
        task: which requests it answers: "curve", ...
        kind: how long a state of it lives: "stateless", ...
        config: hyper-parameters of its family.
        training: data, recipe and held-out figures.
        export: what the exporter measured, by graph.
        signature: inputs and outputs, by graph.
        files: digest, size and media type by name.
        options: serving options in force.
        registered: all that the catalogue says of it.
    """

    name: str
    version: int
    task: str
    kind: str
    config: Mapping[str, Any]
    training: Mapping[str, Any]
    export: Mapping[str, Any]
    signature: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    options: Mapping[str, Any]
    registered: Version


def info_of(said: registry.ShowResponse) -> ModelInfo:
    """A version with its contents."""
    version = version_of(said.version)
    files = {
        file.name: {"digest": file.digest, "size": file.size, "media_type": file.media_type}
        for file in said.files
    }
    return ModelInfo(
        name=version.name,
        version=version.number,
        task=said.task,
        kind=said.kind,
        config=_json(said.config),
        training=_json(said.training),
        export=_json(said.export),
        signature=_json(said.signature),
        files=files,
        options=options_of(said.options),
        registered=version,
    )


def version_of(said: registry.Version) -> Version:
    """A version as the catalogue has it."""
    parent = None
    if said.HasField("parent"):
        p = said.parent
        parent = Parent(p.name, p.number, p.digest, _one(Relation, p.relation))
    return Version(
        name=said.name,
        number=said.number,
        manifest_digest=said.manifest_digest,
        status=_one(Status, said.status),
        reason=said.reason,
        family=said.family,
        precision=said.precision,
        size=said.size,
        created=_time(said.created),
        origin=_one(Origin, said.origin),
        release=said.release or None,
        parent=parent,
        tags=dict(said.tags),
        aliases=tuple(said.aliases),
        owner=said.owner or None,
    )


def model_of(said: registry.Model) -> Model:
    """A registered model."""
    return Model(
        name=said.name,
        versions=said.versions,
        latest=said.latest,
        aliases=dict(said.aliases),
        created=_time(said.created),
        owner=said.owner or None,
        served=said.served,
    )


def alias_of(said: registry.Alias) -> Alias:
    """An alias as it stands."""
    return Alias(said.name, said.alias, _target(said.target), said.generation)


def event_of(said: registry.AliasEvent) -> AliasEvent:
    """One move of an alias."""
    return AliasEvent(
        name=said.name,
        alias=said.alias,
        generation=said.generation,
        at=_time(said.at),
        actor=said.actor,
        action=said.action,
        before=_target(said.before) if said.HasField("before") else None,
        after=_target(said.after) if said.HasField("after") else None,
    )


def report_of(said: registry.FileReport) -> FileReport:
    """What became of a stored file."""
    return FileReport(said.version, said.file, said.digest, said.size, said.problem)


def options_of(said: registry.ServingOptions) -> dict[str, Any]:
    """The serving options that are set, by name."""
    return {field.name: value for field, value in said.ListFields()}


def _target(said: registry.Target) -> Target:
    canary = Canary(said.canary.version, said.canary.percent) if said.HasField("canary") else None
    return Target(said.version, canary)


def _time(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as e:
        raise InternalError(f"the reply is malformed: {seconds} is no time: {e}", id="") from e


def _json(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text or "{}"))
    except (TypeError, ValueError) as e:
        raise InternalError(f"the reply is malformed: {e}", id="") from e


def _one(kind: type[E], said: str) -> E:
    try:
        return kind(said)
    except ValueError as e:
        known = ", ".join(kind)
        raise Unsupported(f"the server says {said!r}, this client knows {known}: update it") from e
