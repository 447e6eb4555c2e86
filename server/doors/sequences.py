"""The door of sequences: ``foretoken.v1.Sequences``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretoken.errors import InvalidInput
from foretoken.proto import sequences as wire
from foretoken.proto.loading import service
from foretoken.server.doors.seats import Seats
from foretoken.server.doors.sequence_messages import snapshot
from foretoken.server.doors.sequence_streams import answer
from foretoken.server.doors.service import Bidirectional, Call, Service, Stream, Unary
from foretoken.server.doors.telling import telling
from foretoken.server.plane import Plane
from foretoken.server.settings import Settings

if TYPE_CHECKING:
    from foretoken.server.sessions.sessions import Sessions

__all__ = ["sequences"]

PAGE = 1000  # snapshots, by default and at most


def sequences(plane: Plane, settings: Settings) -> Service:
    """The service, answered by ``plane`` within the limits of ``settings``."""
    door = _Door(plane.sessions, settings)
    return Service(
        service("foretoken/v1/sequences.proto", "Sequences"),
        {
            "Stream": Bidirectional(door.stream),
            "Restore": Unary(door.restore),
            "Describe": Unary(door.describe),
            "Snapshots": Unary(door.snapshots),
            "Delete": Unary(door.delete),
        },
    )


class _Door:
    def __init__(self, sessions: Sessions, settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings
        self._tell = telling(settings.data_dir)

    async def stream(self, stream: Stream, call: Call) -> None:
        seats = Seats(self._sessions, call, self._settings, self._tell)
        await answer(stream, seats, self._settings.stream_sessions)

    async def restore(self, asked: wire.RestoreRequest, call: Call) -> wire.Snapshot:
        return snapshot(await self._sessions.restore(asked.data, call.terms))

    async def describe(self, asked: wire.DescribeSnapshotRequest, call: Call) -> wire.Snapshot:
        record = await self._sessions.describe(asked.digest, call.terms)
        data = b""
        if asked.include_bytes:
            data = await self._sessions.read(asked.digest, call.terms)
        return snapshot(record, data)

    async def snapshots(self, asked: wire.SnapshotsRequest, call: Call) -> wire.SnapshotsResponse:
        if asked.limit < 0:
            raise InvalidInput(f"limit is {asked.limit}; give 1 or more, or 0 for the default")
        limit = min(asked.limit or PAGE, PAGE)
        page = await self._sessions.snapshots(
            call.terms, asked.model or None, asked.after or None, limit
        )
        following = page[-1].id if len(page) == limit else ""
        return wire.SnapshotsResponse(snapshots=map(snapshot, page), next=following)

    async def delete(
        self, asked: wire.DeleteSnapshotRequest, call: Call
    ) -> wire.DeleteSnapshotResponse:
        await self._sessions.delete(asked.digest, call.terms)
        return wire.DeleteSnapshotResponse()
