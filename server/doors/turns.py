"""Streams of chunks, each answered in its turn: the next is read while a few are worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from google.protobuf.message import Message

from foretoken.errors import ForetokenError, InvalidInput, Overloaded, Unauthenticated
from foretoken.server.doors.service import Stream

__all__ = ["TURNS", "in_turns"]

TURNS = 2  # chunks of a stream that wait to be answered beside the one that is, and the one read

Answer: TypeAlias = Callable[[Any], Awaitable[Message]]
Turn: TypeAlias = Message | Exception
Turns: TypeAlias = asyncio.Queue[asyncio.Task[Turn] | None]


async def in_turns(stream: Stream, answer: Answer) -> None:
    """Answer all further messages of a stream in order; a few are worked on side by side.

    Args:
        stream: whose messages are read.
        answer: to one of them.

    Raises:
        Exception: the first of the messages' errors, once those before it are answered.
    """
    turns: Turns = asyncio.Queue(TURNS)
    refused: ForetokenError | None = None
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_write(stream, turns))
            try:
                while (message := await stream.read()) is not None:
                    work = _turn(answer, message, stream, stream.keep())
                    await turns.put(group.create_task(work))
                    del message, work  # it may be large, and the next may be long in coming
            except (InvalidInput, Overloaded, Unauthenticated) as e:
                refused = e  # what came before is answered first
            await turns.put(None)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if refused is not None:
        raise refused


async def _turn(answer: Answer, message: Any, stream: Stream, size: int) -> Turn:
    """The answer to one chunk, or why there is none: that is told in its turn."""
    try:
        return await answer(message)
    except Exception as e:
        return e
    finally:
        stream.let_go(size)


async def _write(stream: Stream, turns: Turns) -> None:
    while (turn := await turns.get()) is not None:
        made = await turn
        if isinstance(made, Exception):
            # Raised where nothing is being written: gRPC sends no status while a message is on its
            # way.
            raise made
        await stream.write(made)
