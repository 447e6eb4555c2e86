"""Streams of sequences: messages of any number of sessions, those of each answered in order.

A stream with one session gains nothing from being read ahead: a message is read, stepped and
answered by one coroutine. From the second session on, the stream is read while messages are worked
on, and one writer sends what is done; observations never have a task of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import Any

from foretoken.errors import (
    ForetokenError,
    InvalidInput,
    Overloaded,
    Unauthenticated,
    Unavailable,
)
from foretoken.server.doors.seats import Request, Response, Seat, Seats, Work
from foretoken.server.doors.service import Stream

__all__ = ["answer"]


async def answer(stream: Stream, seats: Seats, most: int) -> None:
    """Answer every message, until the caller sends no more or the server stops.

    Args:
        stream: of the caller.
        seats: its sessions, none yet; all are gone at the end.
        most: messages that may wait for their answers; then the stream is read no further.

    Raises:
        ForetokenError: if the stream cannot go on.
    """
    orderly = False
    try:
        while (message := await stream.read()) is not None:
            if seats and message.WhichOneof("message") in ("open", "fork"):
                await _Several(stream, seats, most).answer(message)
                break
            await stream.write(await _answered(seats, message))
        if stream.cut:
            for response in seats.farewells():
                await stream.write(response)
        orderly = not stream.cut
    finally:
        await seats.end(orderly=orderly)


async def _answered(seats: Seats, message: Request) -> Response:
    """The response to the only message that is worked on."""
    seat = seats.at(message.session)
    try:
        steps, begun = seats.begin(seat, message)
        result = await begun
    except ForetokenError as e:
        return seats.refusal(seat, e)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return seats.refusal(seat, _given_up())
    return seats.outputs(seat, steps, result) if steps else result


class _Several:
    """A stream of several sessions.

    Args:
        stream: of the caller.
        seats: its sessions.
        most: see ``answer``.
    """

    def __init__(self, stream: Stream, seats: Seats, most: int) -> None:
        self._stream = stream
        self._seats = seats
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._group = asyncio.TaskGroup()
        self._ready: deque[tuple[Seat, int, int, asyncio.Future[Any]]] = deque()
        self._pending = 0  # messages that were read and are not answered
        self._asleep: asyncio.Future[None] | None = None  # the writer, until something is ready
        self._full: asyncio.Future[None] | None = None  # the reader, until there is room
        self._over = False  # whether nothing more will be read

    async def answer(self, message: Request | None) -> None:
        """Answer ``message`` and all that follow."""
        refused: ForetokenError | None = None
        try:
            async with self._group as group:
                group.create_task(self._write())
                try:
                    while message is not None:
                        self._take(message, self._stream.keep())
                        if self._pending >= self._most:
                            self._full = self._loop.create_future()
                            await self._full
                        message = await self._stream.read()
                except (InvalidInput, Overloaded, Unauthenticated) as e:
                    refused = e  # what came before is answered first
                self._over = True
                self._rouse()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        if refused is not None:
            raise refused

    def _take(self, message: Request, size: int) -> None:
        self._pending += 1
        seat = self._seats.at(message.session)
        if seat.held is None:
            self._begin(seat, message, size)
        else:
            seat.held.append((message, size))

    def _begin(self, seat: Seat, message: Request, size: int) -> None:
        steps, settled = 0, partial(self._settled, seat)
        try:
            steps, begun = self._seats.begin(seat, message)
        except ForetokenError as e:
            future: asyncio.Future[Any] = self._loop.create_future()
            future.set_exception(e)
        else:
            if asyncio.isfuture(begun):
                future = begun
            else:
                settled = partial(self._done, self._held_up(seat, message))
                future = self._group.create_task(self._told(seat, begun))
        seat.waiting.append((seat, steps, size, future))
        future.add_done_callback(settled)

    def _held_up(self, seat: Seat, message: Request) -> list[Seat]:
        """The seats whose further messages have to wait for this one."""
        both = [seat]
        if message.HasField("fork"):
            both.append(self._seats.at(message.fork.into))
        for each in both:
            each.held = deque()
        return both

    async def _told(self, seat: Seat, work: Work) -> Response:
        try:
            return await work
        except ForetokenError as e:
            return self._seats.refusal(seat, e)

    def _settled(self, seat: Seat, _future: object) -> None:
        """Pass on what is answered, as far as all before it is."""
        waiting = seat.waiting
        while waiting and waiting[0][3].done():
            self._ready.append(waiting.popleft())
        self._rouse()

    def _done(self, seats: list[Seat], task: object) -> None:
        """Pass the response on, then begin what was held behind it."""
        self._settled(seats[0], task)
        for seat in seats:
            self._release(seat)

    def _release(self, seat: Seat) -> None:
        held, seat.held = seat.held, None
        while held:
            message, size = held.popleft()
            now = self._seats.at(seat.number)  # it may be closed by now, or another
            self._begin(now, message, size)
            if now.held is not None:
                now.held.extend(held)
                return

    def _rouse(self) -> None:
        asleep, self._asleep = self._asleep, None
        if asleep is not None and not asleep.done():
            asleep.set_result(None)

    async def _write(self) -> None:
        ready, stream = self._ready, self._stream
        while self._pending or not self._over:
            while ready:
                seat, steps, size, future = ready.popleft()
                response = self._response(seat, steps, future)
                stream.let_go(size)
                await stream.write(response)
                self._pending -= 1
                full = self._full
                if full is not None and self._pending < self._most:
                    self._full = None
                    full.set_result(None)
            if self._pending or not self._over:
                self._asleep = self._loop.create_future()
                await self._asleep

    def _response(self, seat: Seat, steps: int, future: asyncio.Future[Any]) -> Response:
        try:
            result = future.result()
        except ForetokenError as e:
            return self._seats.refusal(seat, e)
        except asyncio.CancelledError:
            return self._seats.refusal(seat, _given_up())
        return self._seats.outputs(seat, steps, result) if steps else result


def _given_up() -> Unavailable:
    return Unavailable("the work for this message was given up; try again")
