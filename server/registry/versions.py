"""Versions in the catalogue: each function is a few statements in its caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from foretoken.errors import AlreadyExists, InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.server.registry import schema
from foretoken.server.registry.manifest import MEDIA_TYPE, FileEntry, Manifest
from foretoken.server.registry.records import Origin, Parent, Relation, Status, Version

__all__ = [
    "Candidate",
    "add",
    "find",
    "get",
    "lineage",
    "page",
    "ready",
    "referenced",
    "remove",
    "settle",
    "taken",
]

_V = schema.model_versions.c


@dataclass(frozen=True)
class Candidate:
    """What is to become a version.

    Args:
        name: of the model.
        artefact: description and files.
        actor: who registers it.
        tags: free text by key.
        parent: where it comes from, if it is derived.
        origin: user, or bundled with ``release``.
        release: of Foretoken, for bundled ones.
        owner: tenant that a new model is to belong to; None: everybody's.
    """

    name: str
    artefact: Artefact
    actor: str
    tags: Mapping[str, str] = field(default_factory=dict)
    parent: Parent | None = None
    origin: Origin = Origin.USER
    release: str | None = None
    owner: str | None = None


def taken(name: str) -> AlreadyExists:
    """What is said to who may not register under a name: not whose it is."""
    return AlreadyExists(f"the name {name!r} is taken; register under another one")


def lineage(parent: Version | None, relation: str | None) -> Parent | None:
    """Where a version comes from, if it is derived.

    Raises:
        InvalidInput: if only one of the two is given, or there is no such relation.
    """
    if (parent is None) != (relation is None):
        raise InvalidInput("a parent and its relation go together; give both or neither")
    if parent is None:
        return None
    if relation not in list(Relation):
        raise InvalidInput(f"relation {relation!r} is none of {', '.join(Relation)}")
    return Parent(parent.name, parent.number, parent.manifest_digest, Relation(relation))


def add(connection: Connection, candidate: Candidate, manifest: Manifest, now: datetime) -> int:
    """Insert a PENDING version with its files and tags, and return the number it was given.

    Args:
        connection: a write transaction; the number is given out inside it.
        candidate: the version; its model is made if it is new.
        manifest: of the version; its blobs must be in the store.
        now: when it was registered.

    Raises:
        AlreadyExists: if ``candidate`` has an owner and its name is not that owner's.
    """
    number = _next_number(connection, candidate, now)
    key = {"name": candidate.name, "version": number}
    own = FileEntry(manifest.digest, len(manifest.to_bytes()), MEDIA_TYPE)
    _add_blobs(connection, [own, *manifest.files.values()])
    connection.execute(
        insert(schema.model_versions).values(**key, **_facts(candidate, manifest, now))
    )
    files = [{**key, "file": f, "digest": e.digest} for f, e in manifest.files.items()]
    connection.execute(insert(schema.version_files), files)
    if tags := [{**key, "key": k, "value": v} for k, v in candidate.tags.items()]:
        connection.execute(insert(schema.version_tags), tags)
    return number


def _next_number(connection: Connection, candidate: Candidate, now: datetime) -> int:
    table, name, owner = schema.registered_models, candidate.name, candidate.owner
    this = table.c.name == name
    found = connection.execute(select(table.c.owner).where(this)).one_or_none()
    if found is None:
        row = {"name": name, "created": now, "last_version": 0, "owner": owner}
        connection.execute(insert(table).values(row))
    elif owner not in (None, found.owner):
        raise taken(name)
    connection.execute(update(table).where(this).values(last_version=table.c.last_version + 1))
    number: int = connection.execute(select(table.c.last_version).where(this)).scalar_one()
    return number


def _facts(candidate: Candidate, manifest: Manifest, now: datetime) -> dict[str, Any]:
    parent = candidate.parent
    return {
        "manifest_digest": manifest.digest,
        "status": Status.PENDING,
        "reason": "",
        "family": candidate.artefact.family,
        "precision": candidate.artefact.precision,
        "size": sum(entry.size for entry in manifest.files.values()),
        "created": now,
        "origin": candidate.origin,
        "release": candidate.release,
        "parent_name": parent and parent.name,
        "parent_version": parent and parent.number,
        "parent_digest": parent and parent.digest,
        "relation": parent and parent.relation,
    }


def _add_blobs(connection: Connection, entries: Iterable[FileEntry]) -> None:
    wanted = {entry.digest: entry for entry in entries}
    table = schema.blobs
    known = set(connection.scalars(select(table.c.digest).where(table.c.digest.in_(wanted))))
    new = [
        {"digest": digest, "size": entry.size, "media_type": entry.media_type}
        for digest, entry in wanted.items()
        if digest not in known
    ]
    if new:
        connection.execute(insert(table), new)


def settle(
    connection: Connection, name: str, version: int, status: Status, reason: str = ""
) -> bool:
    """Move a PENDING version to READY or FAILED; false if it is PENDING no longer.

    A FAILED version gives up its files, so that garbage collection may have the bytes.
    """
    this = (_V.name == name) & (_V.version == version)
    pending = update(schema.model_versions).where(this & (_V.status == Status.PENDING))
    if not connection.execute(pending.values(status=status, reason=reason)).rowcount:
        return False
    if status is Status.FAILED:
        files = schema.version_files
        mine = (files.c.name == name) & (files.c.version == version)
        connection.execute(delete(files).where(mine))
    return True


def remove(connection: Connection, name: str, version: int) -> None:
    """Delete a version's rows; its number is not given out again."""
    this = (_V.name == name) & (_V.version == version)
    connection.execute(delete(schema.model_versions).where(this))


def get(connection: Connection, name: str, version: int) -> Version | None:
    """The version of that number, whatever its status."""
    return _one(connection, (_V.name == name) & (_V.version == version))


def find(connection: Connection, name: str, digest: str, origin: Origin) -> Version | None:
    """A READY version of that manifest and origin."""
    same = (_V.name == name) & (_V.manifest_digest == digest) & (_V.origin == origin)
    return _one(connection, same & (_V.status == Status.READY))


def ready(connection: Connection, name: str, limit: int) -> int:
    """How many READY versions there are, counted up to ``limit``."""
    some = select(_V.version).where(_V.name == name, _V.status == Status.READY).limit(limit)
    return connection.scalar(select(func.count()).select_from(some.subquery())) or 0


def page(
    connection: Connection, name: str, after: int | None, limit: int, *, unready: bool
) -> list[Version]:
    """Up to ``limit`` versions, newest first, beginning below number ``after``."""
    mine = _V.name == name
    if not unready:
        mine &= _V.status == Status.READY
    if after is not None:
        mine &= _V.version < after
    return _versions(connection, mine, limit)


def _one(connection: Connection, which: ColumnElement[bool]) -> Version | None:
    found = _versions(connection, which, 1)
    return found[0] if found else None


def _versions(connection: Connection, which: ColumnElement[bool], limit: int) -> list[Version]:
    """Up to ``limit`` versions of one model, newest first."""
    m = schema.registered_models.c
    newest = select(schema.model_versions, m.owner).join_from(
        schema.model_versions, schema.registered_models
    )
    rows = connection.execute(newest.where(which).order_by(_V.version.desc()).limit(limit)).all()
    if not rows:
        return []
    name, numbers = rows[0].name, [row.version for row in rows]
    tags, aliases = _tags(connection, name, numbers), _aliases(connection, name, numbers)
    return [_version(row, tags[row.version], aliases[row.version]) for row in rows]


def _tags(connection: Connection, name: str, numbers: list[int]) -> dict[int, dict[str, str]]:
    t = schema.version_tags.c
    found: dict[int, dict[str, str]] = defaultdict(dict)
    theirs = select(t.version, t.key, t.value).where(t.name == name, t.version.in_(numbers))
    for row in connection.execute(theirs.order_by(t.key)):
        found[row.version][row.key] = row.value
    return found


def _aliases(connection: Connection, name: str, numbers: list[int]) -> dict[int, list[str]]:
    a = schema.aliases.c
    found: dict[int, list[str]] = defaultdict(list)
    theirs = select(a.version, a.alias).where(a.name == name, a.version.in_(numbers))
    for row in connection.execute(theirs.order_by(a.alias)):
        found[row.version].append(row.alias)
    return found


def _version(row: Row[Any], tags: Mapping[str, str], aliases: Sequence[str]) -> Version:
    parent = None
    if row.parent_digest:
        parent = Parent(
            row.parent_name, row.parent_version, row.parent_digest, Relation(row.relation)
        )
    return Version(
        name=row.name,
        number=row.version,
        manifest_digest=row.manifest_digest,
        status=Status(row.status),
        reason=row.reason,
        family=row.family,
        precision=row.precision,
        size=row.size,
        created=row.created,
        origin=Origin(row.origin),
        release=row.release,
        parent=parent,
        tags=tags,
        aliases=tuple(aliases),
        owner=row.owner,
    )


def referenced(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Those of ``digests`` that a PENDING or READY version consists of."""
    f = schema.version_files.c
    found = set(connection.scalars(select(f.digest).where(f.digest.in_(digests))))
    kept = _V.manifest_digest.in_(digests) & (_V.status != Status.FAILED)
    return found | set(connection.scalars(select(_V.manifest_digest).where(kept)))
