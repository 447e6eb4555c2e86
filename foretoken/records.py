"""What is told about models, versions, aliases, contexts and snapshots, here or over the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "Alias",
    "AliasEvent",
    "Canary",
    "ContextRecord",
    "FileReport",
    "Model",
    "Origin",
    "Parent",
    "Record",
    "Relation",
    "SnapshotRecord",
    "Status",
    "Target",
    "Version",
]


@dataclass(frozen=True)
class Record:
    """A frozen dataclass that JSON can say."""

    def record(self) -> dict[str, Any]:
        """All fields by name; times in ISO 8601."""
        return {field.name: _sayable(getattr(self, field.name)) for field in fields(self)}


def _sayable(value: Any) -> Any:
    if isinstance(value, Record):
        return value.record()
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds")
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, Mapping) else value


class Status(StrEnum):
    """How far a version has come; only READY ones are served or pointed at."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class Origin(StrEnum):
    """Who brought a version: a user, or a release of Foretoken."""

    USER = "user"
    BUNDLED = "bundled"


class Relation(StrEnum):
    """How a version came from its parent."""

    EXPORTED_FROM = "exported-from"
    QUANTISED_FROM = "quantised-from"
    FINE_TUNED_FROM = "fine-tuned-from"
    DERIVED_FROM = "derived-from"


@dataclass(frozen=True)
class Parent(Record):
    """Lineage: the digest stays true when the parent itself is deleted."""

    name: str
    number: int
    digest: str
    relation: Relation


@dataclass(frozen=True)
class Version(Record):
    """A registered version.

    Args:
        name: of the registered model.
        number: 1, 2, ... in the order of registration; never given out twice.
        manifest_digest: the version's identity, ``sha256:<hex>``.
        status: see ``Status``.
        reason: why it FAILED, else empty.
        family: name of the family under ``models/``.
        precision: of weights and arithmetic.
        size: bytes of all its files.
        created: when it was registered, UTC.
        origin: see ``Origin``.
        release: of Foretoken that brought it, for bundled ones.
        parent: where it came from, if it was derived.
        tags: of the user, by key.
        aliases: that point at it, in alphabetical order; canaries are not counted.
        owner: tenant that its model belongs to; None: everybody's.
    """

    name: str
    number: int
    manifest_digest: str
    status: Status
    reason: str
    family: str
    precision: str
    size: int
    created: datetime
    origin: Origin
    release: str | None = None
    parent: Parent | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    owner: str | None = None

    @property
    def ref(self) -> str:
        """``NAME:VERSION``."""
        return f"{self.name}:{self.number}"


@dataclass(frozen=True)
class Model(Record):
    """A registered model.

    Args:
        name: unlike any other's.
        versions: how many are READY.
        latest: the highest number among those.
        aliases: with the versions that they point at.
        created: when its first version was registered, UTC.
        owner: tenant that it belongs to; None: everybody's.
        served: false while it is unloaded.
    """

    name: str
    versions: int
    latest: int
    aliases: Mapping[str, int]
    created: datetime
    owner: str | None = None
    served: bool = True


@dataclass(frozen=True)
class Canary(Record):
    """The version that ``percent`` (between 0 and 100) of the keys are sent to."""

    version: int
    percent: float


@dataclass(frozen=True)
class Target(Record):
    """What an alias points at: a version, and perhaps a canary beside it."""

    version: int
    canary: Canary | None = None


@dataclass(frozen=True)
class Alias(Record):
    """An alias as it stands; ``generation`` grows by one with every move of it."""

    name: str
    alias: str
    target: Target
    generation: int


@dataclass(frozen=True)
class AliasEvent(Record):
    """One move of an alias; ``None`` stands for "there was" or "there is no such alias".

    Args:
        name: of the registered model.
        alias: that moved.
        generation: after the move.
        at: when, UTC.
        actor: who.
        action: "set", "rollback" or "delete".
        before: what it pointed at.
        after: what it points at.
    """

    name: str
    alias: str
    generation: int
    at: datetime
    actor: str
    action: str
    before: Target | None
    after: Target | None


@dataclass(frozen=True)
class ContextRecord(Record):
    """A fitted training set that a server keeps.

    Args:
        id: "ctx-" and 64 hex digits; tells nothing of what it names.
        model: registered name of the model that it was fitted with.
        version: number of the version, which it stays with.
        rows: of the training set.
        columns: names, in the order in which the model reads them.
        classes: the labels, sorted, as text.
        members: of the ensemble.
        nbytes: of its state (keys and values), whether that is kept now or not.
        kept_nbytes: of its state on the disk now; 0 while that has to be computed anew.
        created: when it was fitted, UTC.
        used: when it last answered, UTC, within some minutes.
        expires: when it is forgotten unless it is used before, UTC; None: never.
        texts: names of the columns that held text.
    """

    id: str
    model: str
    version: int
    rows: int
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    members: int
    nbytes: int
    kept_nbytes: int
    created: datetime
    used: datetime
    expires: datetime | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class SnapshotRecord(Record):
    """The state of a session that a server keeps.

    Args:
        id: "snap-" and 64 hex digits; tells nothing of what it names.
        model: registered name of the model that it was taken of.
        version: number of the version, which alone can go on from it.
        step: observations that the state has seen.
        nbytes: of it.
        created: when it was kept, UTC.
        used: when it was last gone on from, UTC, within some minutes.
        expires: when it is erased unless it is used before, UTC; None: never.
    """

    id: str
    model: str
    version: int
    step: int
    nbytes: int
    created: datetime
    used: datetime
    expires: datetime | None = None


@dataclass(frozen=True)
class FileReport(Record):
    """A file of a version after a look at its bytes.

    Args:
        version: ``NAME:VERSION``.
        file: its name in the artefact, or "manifest".
        digest: that it should have.
        size: bytes that it should have.
        problem: what is wrong with it, empty if nothing is.
    """

    version: str
    file: str
    digest: str
    size: int
    problem: str

    @property
    def ok(self) -> bool:
        """Whether the bytes are those that were registered."""
        return not self.problem
