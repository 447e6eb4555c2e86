"""Snapshots of sessions: what is sent for them, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from foretoken.client.methods import method
from foretoken.client.operations import DELAYS, Pause, Steps, Unary, message
from foretoken.client.tabular import PAGE
from foretoken.errors import InternalError, InvalidInput, NotFound, Unavailable
from foretoken.proto import sequences as wire
from foretoken.records import SnapshotRecord

__all__ = [
    "Kept",
    "Snapshot",
    "delete",
    "digest_of",
    "restore",
    "snapshot",
    "snapshot_of",
    "snapshots",
]


@dataclass(frozen=True)
class Snapshot:
    """The state of a session at a step; a session that resumes it goes on exactly from there.

    Args:
        digest: under which the server keeps it; None if it does not.
        model: that it was taken of.
        version: number of the version, which alone can go on from it.
        step: observations that it has seen.
        nbytes: of the state.
        data: the snapshot's own bytes, if they were asked for.
        record: what the server says of it; None if it is not kept.
    """

    digest: str | None
    model: str
    version: int
    step: int
    nbytes: int
    data: bytes | None = field(default=None, repr=False)
    record: SnapshotRecord | None = field(default=None, repr=False)


Kept: TypeAlias = Snapshot | SnapshotRecord | str  # what stands for a snapshot on a server


def restore(data: bytes) -> Steps[SnapshotRecord]:
    """Have the server keep a snapshot that was taken elsewhere."""
    request = message(wire.RestoreRequest, data=data)
    return _record((yield Unary(method("Sequences.Restore"), request)))


def snapshot(digest: Kept, *, include_bytes: bool) -> Steps[Snapshot]:
    """One snapshot."""
    request = message(
        wire.DescribeSnapshotRequest, digest=digest_of(digest), include_bytes=include_bytes
    )
    said = yield Unary(method("Sequences.Describe"), request)
    return snapshot_of(said, with_bytes=include_bytes)


def snapshots(model: str | None) -> Steps[list[SnapshotRecord]]:
    """All snapshots of the caller, or those of one model, the last used first."""
    found: list[SnapshotRecord] = []
    after = None
    while True:
        request = message(wire.SnapshotsRequest, model=model, after=after, limit=PAGE)
        reply = yield Unary(method("Sequences.Snapshots"), request)
        found += map(_record, reply.snapshots)
        after = reply.next
        if not after:
            return found


def delete(digest: Kept) -> Steps[None]:
    """Erase a snapshot; one that is gone after a try whose answer was lost was erased by that."""
    request = message(wire.DeleteSnapshotRequest, digest=digest_of(digest))
    for tries, delay in enumerate((*DELAYS, None)):
        try:
            yield Unary(method("Sequences.Delete"), request)
            return
        except NotFound:
            if not tries:
                raise
            return
        except Unavailable:
            if delay is None:
                raise
            yield Pause(delay)


def digest_of(given: Kept) -> str:
    """The digest of whatever stands for a snapshot that is kept.

    Raises:
        InvalidInput: if nothing does.
    """
    found = given
    if isinstance(given, Snapshot):
        found = given.digest or ""
    elif isinstance(given, SnapshotRecord):
        found = given.id
    if isinstance(found, str) and found:
        return found
    raise InvalidInput(f"a kept snapshot is named by its digest, not {given!r}")


def snapshot_of(said: wire.Snapshot, *, with_bytes: bool) -> Snapshot:
    """A snapshot as it is told of."""
    return Snapshot(
        digest=said.digest or None,
        model=said.model,
        version=said.version,
        step=said.step,
        nbytes=said.nbytes,
        data=said.data if with_bytes else None,
        record=_record(said) if said.digest else None,
    )


def _record(said: wire.Snapshot) -> SnapshotRecord:
    try:
        created, used = (datetime.fromtimestamp(s, UTC) for s in (said.created, said.used))
        expires = datetime.fromtimestamp(said.expires, UTC) if said.HasField("expires") else None
    except (ValueError, OverflowError, OSError) as e:
        raise InternalError(f"the reply is malformed: {e}", id="") from e
    return SnapshotRecord(
        id=said.digest,
        model=said.model,
        version=said.version,
        step=said.step,
        nbytes=said.nbytes,
        created=created,
        used=used,
        expires=expires,
    )
