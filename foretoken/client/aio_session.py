"""Sessions on ``grpc.aio``; their methods are those of ``Session``, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from foretoken.client.aio_transport import Stream, Transport
from foretoken.client.blocking_session import SLOW, WINDOW
from foretoken.client.flow import TOO_LATE
from foretoken.client.lines import Lines
from foretoken.client.methods import Method, method
from foretoken.client.operations import Action, Budget, Pause, Send, Steps, adrive
from foretoken.client.outputs import Output, Want
from foretoken.client.snapshots import Snapshot
from foretoken.client.stepped import Opened, Stepped
from foretoken.errors import DeadlineExceeded, ForetokenError, Unavailable
from foretoken.proto import sequences as wire

__all__ = ["AsyncLine", "AsyncSession", "begun"]

R = TypeVar("R")
Values = Iterable[ArrayLike] | AsyncIterable[ArrayLike]


class AsyncLine(Stream):
    """A stream whose messages go to the sessions that they are for."""

    def __init__(self, called: Method, call: Any, address: str) -> None:
        super().__init__(called, call, address)
        self._inboxes: dict[int, asyncio.Queue[Any]] = {}
        self._writing = asyncio.Lock()
        self._fault_of_all: ForetokenError | None = None
        self._reader = asyncio.create_task(self._read())

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._fault_of_all is not None

    async def send(self, request: Any, budget: Budget) -> None:
        """Send; if the stream has ended, whoever awaits a message hears of it."""
        async with self._writing:
            try:
                await super().send(request, budget)
            except DeadlineExceeded:
                raise
            except ForetokenError:
                pass  # the reader hears why

    async def receive_of(self, number: int, budget: Budget) -> Any:
        """The next message for a session.

        Raises:
            DeadlineExceeded: if there is none in time.
            ForetokenError: why there will be none.
        """
        inbox = self._inbox(number)
        try:
            async with asyncio.timeout(budget.left()):
                found = await inbox.get()
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {budget.seconds:g} s") from None
        if isinstance(found, BaseException):
            inbox.put_nowait(found)  # for whoever asks again
            raise found
        return found

    def _inbox(self, number: int) -> asyncio.Queue[Any]:
        inbox = self._inboxes.get(number)
        if inbox is None:
            inbox = self._inboxes[number] = asyncio.Queue()
            if self._fault_of_all is not None:
                inbox.put_nowait(self._fault_of_all)
        return inbox

    async def _read(self) -> None:
        error: ForetokenError = Unavailable("the stream was closed")
        try:
            while True:
                message = await self.receive(Budget(float("inf")))
                self._inbox(message.session).put_nowait(message)
        except ForetokenError as e:
            # The status is lost if the stream was written to when the server had just ended it.
            error = Unavailable(str(e)) if TOO_LATE in str(e) else e
        finally:
            self._fault_of_all = error
            for inbox in self._inboxes.values():
                inbox.put_nowait(error)

    async def close(self) -> None:
        """End it in order if the server answers at once, else cancel it."""
        with suppress(ForetokenError):
            async with self._ours(Budget(float("inf"))):
                await self._call.done_writing()
        await asyncio.wait([self._reader], timeout=1.0)
        self.cancel()
        await asyncio.wait([self._reader], timeout=1.0)


class AsyncSession:
    """See ``Session``; an asynchronous context manager, and its methods are awaited.

    It is for one task at a time.
    """

    def __init__(
        self,
        transport: Transport,
        lines: Lines[AsyncLine],
        stepped: Stepped,
        timeout: float,
        line: AsyncLine | None = None,
    ) -> None:
        self._transport = transport
        self._lines = lines
        self._stepped = stepped
        self._timeout = timeout
        self._line = line

    @property
    def id(self) -> str:
        """See ``Session.id``."""
        return self.opened.id

    @property
    def opened(self) -> Opened:
        """See ``Session.opened``."""
        return self._stepped.opened

    @property
    def step(self) -> int:
        """See ``Session.step``."""
        return self._stepped.step

    @property
    def durable_step(self) -> int:
        """See ``Session.durable_step``."""
        return self._stepped.durable_step

    @property
    def resumes(self) -> int:
        """See ``Session.resumes``."""
        return self._stepped.resumes

    @property
    def replayed(self) -> int:
        """See ``Session.replayed``."""
        return self._stepped.replayed

    async def push(self, value: ArrayLike, want: Want = "every") -> Output:
        """See ``Session.push``."""
        return await self._run(self._stepped.push(value, want))

    async def follow(self, values: Values, want: Want = "every") -> AsyncIterator[Output]:
        """An output for each of ``values``, which may be asynchronous, in order.

        Up to 32 of them are on their way at a time; outputs come as soon as they are there, also
        while the next of ``values`` is waited for.
        """
        source, window = aiter(_each(values)), 1
        coming: asyncio.Future[Any] | None = None
        stepped = self._stepped
        try:
            while True:
                began = time.monotonic()
                coming = asyncio.ensure_future(anext(source, _END))
                await asyncio.sleep(0)  # for one that does not wait
                slow = time.monotonic() - began > SLOW
                window = 1 if slow else min(2 * window, WINDOW)
                while stepped.untaken and not coming.done():
                    yield await self._run(stepped.take())
                value, coming = await coming, None
                if value is _END:
                    break
                await self._run(stepped.put(value, want))
                while stepped.untaken >= window:
                    yield await self._run(stepped.take())
            while stepped.untaken:
                yield await self._run(stepped.take())
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.wait([coming])
            await self._run(stepped.forget())

    async def snapshot(self, include_bytes: bool = False, keep: bool = True) -> Snapshot:
        """See ``Session.snapshot``."""
        return await self._run(self._stepped.snapshot(include_bytes=include_bytes, keep=keep))

    async def fork(self) -> AsyncSession:
        """See ``Session.fork``."""
        stepped = await self._run(self._stepped.fork(next(self._lines.numbers)))
        line = self._line
        assert line is not None
        self._lines.join(line)
        return AsyncSession(self._transport, self._lines, stepped, self._timeout, line)

    async def close(self) -> None:
        """See ``Session.close``."""
        await self._close(mend=True)

    async def _run(self, steps: Steps[R]) -> R:
        budget = Budget(self._timeout)
        return await adrive(steps, lambda action: self._perform(action, budget))

    async def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return await self._transport.perform(action, budget)
        if isinstance(action, Send):
            self._line = self._lines.attach(self._line, fresh=action.fresh)
            return await self._line.send(action.request, budget)
        if self._line is None:
            raise Unavailable("the session has no stream")
        return await self._line.receive_of(self._stepped.number, budget)

    async def _close(self, *, mend: bool) -> None:
        try:
            await self._run(self._stepped.close(mend=mend))
        finally:
            line, self._line = self._line, None
            if line is not None and self._lines.leave(line):
                await line.close()

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._stepped.begin())
        except BaseException:
            await self._close(mend=False)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self._close(mend=True)
            return
        with suppress(ForetokenError):  # the block's own error is the one to hear of
            await self._close(mend=False)


def begun(transport: Transport, opening: wire.SequenceOpen, timeout: float) -> AsyncSession:
    """A session on a stream of its own, opened with its block; ``timeout``: of each answer."""
    called = method("Sequences.Stream")
    lines = Lines(lambda: transport.stream_of(AsyncLine, called))
    return AsyncSession(transport, lines, Stepped(next(lines.numbers), opening), timeout)


_END: Any = object()


async def _each(values: Values) -> AsyncIterator[ArrayLike]:
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value
