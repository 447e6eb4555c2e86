"""The sessions of one stream by the numbers that its caller chose, and what messages do to them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from foretoken.errors import (
    AlreadyExists,
    ForetokenError,
    InvalidInput,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.proto import sequences as wire
from foretoken.server.answers import Answers
from foretoken.server.doors import sequence_messages as messages
from foretoken.server.doors.service import Call
from foretoken.server.doors.telling import Tell
from foretoken.server.sessions.session import Session
from foretoken.server.settings import Settings
from foretoken.server.terms import Terms

if TYPE_CHECKING:
    from foretoken.server.sessions.sessions import Sessions

__all__ = ["Request", "Response", "Seat", "Seats", "Work"]

GRAIN = 0.01  # of the deadline: messages that come so close to each other have the same one

Request: TypeAlias = wire.SequenceRequest
Response: TypeAlias = wire.SequenceResponse
Work: TypeAlias = Coroutine[Any, Any, Response]


@dataclass(slots=True, eq=False)
class Seat:
    """A session by its number on this stream.

    Args:
        number: that the caller chose.
        session: None until it is open.
        step: observations whose outputs have been sent.
        waiting: what its messages wait for, in order: each the seat itself, observations, bytes in
            flight, and what is answered.
        held: messages behind one that opens, forks, closes or takes a snapshot, with their bytes;
            None while there is none such.
    """

    number: int
    session: Session | None = None
    step: int = 0
    waiting: deque[tuple[Seat, int, int, asyncio.Future[Any]]] = field(default_factory=deque)
    held: deque[tuple[Request, int]] | None = None


class Seats:
    """The sessions of one stream.

    Args:
        sessions: of the plane.
        call: on whose terms.
        settings: deadline and observations of a message, sessions of a stream.
        tell: makes texts of errors fit for callers.
    """

    def __init__(self, sessions: Sessions, call: Call, settings: Settings, tell: Tell) -> None:
        self._sessions = sessions
        self._call = call
        self._tell = tell
        self._deadline = settings.deadline
        self._longest = settings.request_tokens
        self._most = settings.stream_sessions
        self._timed, self._until = call.terms, 0.0
        self._taken: dict[int, Seat] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def at(self, number: int) -> Seat:
        """The seat of that number; one that is free counts only once it is opened."""
        return self._taken.get(number) or Seat(number)

    def begin(self, seat: Seat, message: Request) -> tuple[int, asyncio.Future[Any] | Work]:
        """Observations of a message and the future of their reply; or 0, and the work on it.

        Raises:
            ForetokenError: if the message is not acceptable; all is then as it was.
        """
        kind = message.WhichOneof("message")
        if kind == "open":
            self._take(seat)
            return 0, self._open(seat, message.open)
        session = seat.session
        if session is None:
            raise NotFound(f"session {seat.number} is not open on this stream; `open` comes first")
        if kind == "observe":
            said = message.observe
            values, want = messages.observations(said, self._longest), messages.want_of(said)
            if session.candidate is not None:
                delivered = said.delivered if said.HasField("delivered") else seat.step
                self._sessions.deliver(session, delivered)
            return len(values), self._sessions.step(session, values, self._terms(), want)
        if kind == "snapshot":
            return 0, self._snapshot(seat, session, message.snapshot)
        if kind == "fork":
            other = Seat(message.fork.into)
            self._take(other)
            return 0, self._fork(seat, session, other)
        if kind == "close":
            last = seat.waiting[-1][-1] if seat.waiting else None
            return 0, self._close(seat, session, last)
        raise InvalidInput("a message is one of open, observe, snapshot, fork and close")

    def outputs(self, seat: Seat, steps: int, reply: Any) -> Response:
        """The response to so many observations, which is sent next."""
        seat.step += steps
        session = seat.session
        assert session is not None
        durable = min(session.durable_step, seat.step)
        made: Response = messages.outputs(seat.number, seat.step, durable, reply)
        return made

    def refusal(self, seat: Seat, error: ForetokenError) -> Response:
        """The response to a message that is not answered."""
        session = seat.session
        gone = session is not None and session.lost is not None
        resume = session.id if session is not None and gone else ""
        return messages.refusal(seat.number, error, self._tell, resume)

    def farewells(self) -> list[Response]:
        """What to tell of every session when the server stops: how to go on with it elsewhere."""
        stopping = Unavailable("this server stops; go on with the session by its id")
        left = [seat for seat in self._taken.values() if seat.session is not None]
        return [self.refusal(seat, stopping) for seat in left]

    async def end(self, *, orderly: bool) -> None:
        """Close all sessions if the caller has ended the stream, else abandon them.

        Those that have left this worker are not ended with it.
        """
        left = [seat.session for seat in self._taken.values() if seat.session is not None]
        self._taken.clear()
        sessions = self._sessions
        ends = [
            sessions.close(each) if orderly and each.lost is None else sessions.abandon(each)
            for each in left
        ]
        await asyncio.shield(asyncio.gather(*ends))

    # -- sessions come and go ---------------------------------------------------------------------

    def _take(self, seat: Seat) -> None:
        if seat.number in self._taken:
            raise AlreadyExists(f"session {seat.number} is open on this stream already")
        if len(self._taken) >= self._most:
            raise Overloaded(
                f"{self._most} sessions are open on this stream, which is the bound "
                "(stream_sessions); close some, or open another stream"
            )
        self._taken[seat.number] = seat

    async def _open(self, seat: Seat, said: wire.SequenceOpen) -> Response:
        try:
            terms = self._terms()
            if said.key:
                terms = replace(terms, key=said.key)
            options, resume = messages.options_of(said), messages.resume_of(said)
            session = await self._sessions.open(said.model, terms, options, resume)
        except BaseException:
            self._taken.pop(seat.number, None)
            raise
        self._call.answered(Answers([], session.version, 0.0))
        return Response(session=seat.number, opened=self._seated(seat, session))

    async def _fork(self, seat: Seat, session: Session, other: Seat) -> Response:
        try:
            forked = await self._sessions.fork(session, self._terms())
        except BaseException:
            self._taken.pop(other.number, None)
            raise
        return Response(session=seat.number, forked=self._seated(other, forked))

    def _seated(self, seat: Seat, session: Session) -> wire.Opened:
        seat.session, seat.step = session, session.step
        return messages.opened(session)

    async def _snapshot(self, seat: Seat, session: Session, asked: wire.TakeSnapshot) -> Response:
        keep = not asked.bytes_only
        record, data = await self._sessions.snapshot(session, self._terms(), keep=keep)
        sent = data if asked.include_bytes or asked.bytes_only else b""
        if record is None:
            said = messages.unkept(session, seat.step, sent)
        else:
            said = messages.snapshot(record, sent)
        return Response(session=seat.number, snapshot=said)

    async def _close(
        self, seat: Seat, session: Session, last: asyncio.Future[Any] | None
    ) -> Response:
        if last is not None:
            await asyncio.wait([last])  # what came before is answered
        await self._sessions.close(session)
        self._taken.pop(seat.number, None)
        return Response(session=seat.number, closed=wire.Closed(step=seat.step))

    def _terms(self) -> Terms:
        """Those of a message that comes now: it has the default deadline, or the stream's."""
        now = monotonic()
        if now >= self._until:
            self._until = now + GRAIN * self._deadline
            by = min(self._call.terms.deadline, self._until + self._deadline)
            self._timed = replace(self._call.terms, deadline=by)
        return self._timed
