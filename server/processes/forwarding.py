"""Forwarding: a worker asks another to answer for a sequence that is there.

Each worker has a Unix socket for it in the run folder, which belongs to the server's user alone;
nothing of this can be reached by a port. Between two workers there is one connection each way,
opened at the first call and kept, which carries many calls at once (``frames``).
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from foretoken import errors
from foretoken.errors import (
    DeadlineExceeded,
    ForetokenError,
    InternalError,
    Overloaded,
    Unavailable,
)
from foretoken.server.log import Log, describe_bug
from foretoken.server.processes.frames import Frames, What
from foretoken.server.processes.peers import short
from foretoken.server.sessions.others import Gone, Moved
from foretoken.server.terms import Caller, Scope, Terms

__all__ = ["Answer", "Drop", "Forwarding", "calls_of"]

Answer = Callable[[Terms, bytes], Awaitable[bytes]]
Drop = Callable[[str, Terms], Awaitable[None]]

_LENGTH = struct.Struct("<I")  # of the terms, before what else is in a frame
BESIDE = 1 << 16  # bytes of a frame beside the message
SLACK = 0.2  # seconds after the deadline in which the other worker may still say that it has passed
ANSWER = 1 << 31  # bytes of an answer's frame; what a worker makes of a request may be far larger
BACKLOG = 256  # connections that wait to be accepted; there are at most as many as workers


def calls_of(run: Path, number: int) -> Path:
    """The socket on which the worker with that number is called."""
    return run / f"worker-{number}.calls"


class Forwarding:
    """One worker's calls to the others, and theirs to it; it belongs to one event loop.

    Args:
        run: the run folder.
        number: of this worker.
        message_bytes: most bytes of a message.
        most: calls to one worker that may wait for their answers.
        log: is told of bugs.
    """

    def __init__(self, run: Path, number: int, message_bytes: int, most: int, log: Log) -> None:
        self._run = run
        self._own = calls_of(run, number)
        self._frame = message_bytes + BESIDE
        self._most = most
        self._log = log
        self._links: dict[int, asyncio.Task[_Link]] = {}
        self._server: asyncio.Server | None = None
        self._called: set[_Called] = set()

    async def start(self, answer: Answer, drop: Drop) -> None:
        """Answer the others from now on.

        Args:
            answer: a request of a sequence that is here; raises ``Moved`` if it is not.
            drop: ends the sequence of a key, if it is here.
        """

        def accepted() -> Frames:
            called = _Called(answer, drop, self._log, self._called)
            return Frames(self._frame, called.heard, called.gone)

        loop = asyncio.get_running_loop()
        with short(self._own) as path:
            self._server = await loop.create_unix_server(accepted, path, backlog=BACKLOG)
        self._own.chmod(0o600)

    async def stop(self) -> None:
        """Answer no longer, and ask nobody any more."""
        if self._server is not None:
            self._server.close()
            self._own.unlink(missing_ok=True)
            self._server = None
        for called in tuple(self._called):
            called.close()
        for task in self._links.values():
            if task.done() and _usable(task):
                task.result().close()
            task.cancel()
        self._links.clear()

    async def ask(self, worker: int, terms: Terms, packed: bytes) -> bytes:
        """See ``Others``."""
        return await self._call(worker, What.ASK, terms, packed)

    async def drop(self, worker: int, key: str, terms: Terms) -> None:
        """See ``Others``."""
        await self._call(worker, What.DROP, terms, key.encode())

    def alive(self, worker: int) -> bool:
        """See ``Others``; the supervisor removes the sockets of those that were killed."""
        return calls_of(self._run, worker).exists()

    async def _call(self, worker: int, what: What, terms: Terms, contents: bytes) -> bytes:
        wait = terms.left + SLACK if terms.deadline < math.inf else None
        try:
            async with asyncio.timeout(wait):
                link = await self._link(worker)
                return await link.call(what, _packed(terms) + contents)
        except TimeoutError as e:
            raise DeadlineExceeded(
                "the deadline passed before the worker that has the sequence had answered"
            ) from e

    async def _link(self, worker: int) -> _Link:
        task = self._links.get(worker)
        if task is not None and task.done() and not _usable(task):
            task = None
        if task is None:
            task = self._links[worker] = asyncio.ensure_future(self._connect(worker))
        return await asyncio.shield(task)  # others may wait for it as well

    async def _connect(self, worker: int) -> _Link:
        link = _Link(self._most)
        loop = asyncio.get_running_loop()
        try:
            with short(calls_of(self._run, worker)) as path:
                await loop.create_unix_connection(
                    lambda: link.attach(Frames(ANSWER, link.heard, link.gone)), path
                )
        except (ConnectionRefusedError, FileNotFoundError) as e:
            self._links.pop(worker, None)
            raise Gone(f"worker {worker} has ended") from e
        except OSError as e:
            self._links.pop(worker, None)
            raise Unavailable(f"worker {worker} cannot be reached: {e.strerror}") from e
        return link


class _Link:
    """Calls to one other worker."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: Frames | None = None
        self._last = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    @property
    def open(self) -> bool:
        return self._frames is not None and self._frames.open

    def attach(self, frames: Frames) -> Frames:
        self._frames = frames
        return frames

    async def call(self, what: What, contents: bytes) -> bytes:
        frames, most = self._frames, self._most
        assert frames is not None
        if len(self._waiting) >= most:
            raise Overloaded(f"{most} calls to another worker wait, which is the bound")
        await frames.room()
        if not frames.open:
            raise Moved("the connection has just been closed")  # the next try finds out why
        self._last += 1
        number = self._last
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        frames.write(what, number, contents)
        try:
            return await answer
        except asyncio.CancelledError:
            frames.write(What.CANCEL, number)
            raise
        finally:
            self._waiting.pop(number, None)

    def heard(self, _frames: Frames, what: What, call: int, contents: bytes) -> None:
        answer = self._waiting.get(call)
        if answer is None or answer.done():
            return  # its caller has gone
        if what is What.ANSWER:
            answer.set_result(contents)
        elif what is What.MOVED:
            answer.set_exception(Moved("the sequence is not there any more"))
        else:
            answer.set_exception(_error(contents))

    def gone(self, _frames: Frames) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(
                    Unavailable(
                        "the worker that has the sequence ended while it was asked; whether it "
                        "has done what was asked is not known"
                    )
                )

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()


class _Called:
    """Calls of one other worker, on one connection."""

    def __init__(self, answer: Answer, drop: Drop, log: Log, all_: set[_Called]) -> None:
        self._answer = answer
        self._drop = drop
        self._log = log
        self._all = all_
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._frames: Frames | None = None

    def heard(self, frames: Frames, what: What, call: int, contents: bytes) -> None:
        self._all.add(self)
        self._frames = frames
        if what is What.CANCEL:
            if (task := self._tasks.get(call)) is not None:
                task.cancel()
            return
        # Tasks begin in the order of their making, so requests of a sequence stay in theirs.
        task = asyncio.ensure_future(self._serve(frames, what, call, contents))
        self._tasks[call] = task
        task.add_done_callback(lambda _: self._tasks.pop(call, None))

    def gone(self, _frames: Frames) -> None:
        self._all.discard(self)
        for task in self._tasks.values():
            task.cancel()

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()

    async def _serve(self, frames: Frames, what: What, call: int, contents: bytes) -> None:
        try:
            terms, rest = _unpacked(contents)
            if what is What.ASK:
                kind, said = What.ANSWER, await self._answer(terms, rest)
            elif what is What.DROP:
                await self._drop(rest.decode(), terms)
                kind, said = What.ANSWER, b""
            else:
                raise InternalError(f"a frame {what.name} is no call")
        except Moved:
            kind, said = What.MOVED, b""
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # nobody waits any more
            kind, said = What.REFUSE, self._refused(Unavailable("the work was given up; try again"))
        except Exception as e:
            kind, said = What.REFUSE, self._refused(e)
        await frames.room()
        frames.write(kind, call, said)

    def _refused(self, error: Exception) -> bytes:
        known = error
        if not isinstance(error, ForetokenError):
            known = InternalError("answering for another worker failed")
            self._log.event("failure", "error", id=known.id, **describe_bug(error))
        said = {
            "kind": type(known).__name__,
            "message": str(known),
            "retry_after": getattr(known, "retry_after", None),
        }
        return json.dumps(said).encode()


def _usable(task: asyncio.Task[_Link]) -> bool:
    return not task.cancelled() and task.exception() is None and task.result().open


def _packed(terms: Terms) -> bytes:
    caller = terms.caller
    who = [caller.name, sorted(caller.scopes), caller.tenant]
    # The monotonic clock is the machine's, so another process can read a deadline by it.
    said = json.dumps([*who, terms.deadline, terms.priority, terms.key, terms.request_id])
    return _LENGTH.pack(len(said.encode())) + said.encode()


def _unpacked(contents: bytes) -> tuple[Terms, bytes]:
    (length,) = _LENGTH.unpack_from(contents)
    end = _LENGTH.size + length
    name, scopes, tenant, *rest = json.loads(contents[_LENGTH.size : end])
    caller = Caller(name, frozenset(map(Scope, scopes)), tenant)
    return Terms(caller, *rest), contents[end:]


def _error(contents: bytes) -> ForetokenError:
    """What another worker has raised, as the error that it was."""
    said = json.loads(contents)
    kind = getattr(errors, said["kind"], InternalError)
    if kind is Overloaded:
        return Overloaded(said["message"], said["retry_after"])
    if kind is InternalError:
        return InternalError(said["message"], id="")  # the text has it
    error: ForetokenError = kind(said["message"])
    return error
