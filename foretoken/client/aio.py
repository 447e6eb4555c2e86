"""The client for asyncio, on ``grpc.aio``; its methods are those of ``Client``, awaited."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from numpy.typing import ArrayLike

from foretoken.client import curves, registry
from foretoken.client.blocking import FAREWELL, LONG, SERIALIZE
from foretoken.client.connection import TIMEOUT, Connection
from foretoken.client.curves import Metric
from foretoken.client.describe import ModelInfo
from foretoken.client.failures import failure
from foretoken.client.methods import Method, method
from foretoken.client.operations import Action, Budget, Pause, Steps, Unary, Upload, adrive
from foretoken.client.upload import Progress
from foretoken.client.watching import Outlook, Watched
from foretoken.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    ForetokenError,
    Unavailable,
)
from foretoken.posterior import QUANTILES, Posterior
from foretoken.records import Alias, AliasEvent, FileReport, Model, Version

__all__ = ["AsyncClient", "AsyncWatch"]

R = TypeVar("R")


class AsyncClient:
    """A connection to a server, for one event loop: the one that first awaits a method.

    Arguments, methods and errors are those of ``Client``; cancelling the task that awaits a method
    cancels the call. It does not survive a fork; it can be pickled, and then connects anew.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        tls: bool = False,
        ca: Path | str | None = None,
        cert: Path | str | None = None,
        key: Path | str | None = None,
        timeout: float = TIMEOUT,
        allow_plaintext_token: bool = False,
    ) -> None:
        made = Connection(address, token, tls, ca, cert, key, timeout, allow_plaintext_token)
        self._open(made)

    def _open(self, connection: Connection) -> None:
        self._connection = connection
        self._transport = _Transport(connection)

    async def close(self) -> None:
        """See ``Client.close``."""
        await self._transport.close()

    # -- registry ---------------------------------------------------------------------------------

    async def models(
        self,
        after: str | None = None,
        limit: int | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Model]:
        """See ``Client.models``."""
        return await self._run(registry.models(after, limit), timeout)

    async def model(self, ref: str, *, timeout: float | None = None) -> ModelInfo:
        """See ``Client.model``."""
        return await self._run(registry.model(ref), timeout)

    async def versions(
        self,
        name: str,
        after: int | None = None,
        limit: int | None = None,
        *,
        unready: bool = False,
        timeout: float | None = None,
    ) -> list[Version]:
        """See ``Client.versions``."""
        return await self._run(registry.versions(name, after, limit, unready), timeout)

    async def register(
        self,
        name: str,
        folder: Path | str,
        *,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        relation: str | None = None,
        progress: Progress | None = None,
        timeout: float | None = LONG,
    ) -> Version:
        """See ``Client.register``; files are read, and ``progress`` is called, in a thread."""
        made = registry.register(name, Path(folder), tags, parent, relation, progress)
        return await self._run(made, timeout)

    async def verify(
        self,
        ref: str | None = None,
        *,
        heard: Callable[[FileReport], None] | None = None,
        timeout: float | None = LONG,
    ) -> list[FileReport]:
        """See ``Client.verify``."""
        return await self._run(registry.verify(ref, heard), timeout)

    async def delete(self, ref: str, *, timeout: float | None = None) -> Version:
        """See ``Client.delete``."""
        return await self._run(registry.delete(ref), timeout)

    async def aliases(self, name: str, *, timeout: float | None = None) -> list[Alias]:
        """See ``Client.aliases``."""
        return await self._run(registry.aliases(name), timeout)

    async def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        canary: float | None = None,
        expect_generation: int | None = None,
        timeout: float | None = None,
    ) -> Alias:
        """See ``Client.set_alias``."""
        made = registry.set_alias(name, alias, version, canary, expect_generation)
        return await self._run(made, timeout)

    async def delete_alias(
        self,
        name: str,
        alias: str,
        *,
        expect_generation: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """See ``Client.delete_alias``."""
        await self._run(registry.delete_alias(name, alias, expect_generation), timeout)

    async def history(
        self, name: str, alias: str | None = None, *, timeout: float | None = None
    ) -> list[AliasEvent]:
        """See ``Client.history``."""
        return await self._run(registry.history(name, alias), timeout)

    async def rollback(
        self, name: str, alias: str = "champion", *, timeout: float | None = None
    ) -> Alias:
        """See ``Client.rollback``."""
        return await self._run(registry.rollback(name, alias), timeout)

    async def options(self, name: str, *, timeout: float | None = None) -> dict[str, Any]:
        """See ``Client.options``."""
        return await self._run(registry.options(name), timeout)

    async def set_options(
        self, name: str, given: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """See ``Client.set_options``."""
        return await self._run(registry.set_options(name, given), timeout)

    async def load(self, name: str, *, timeout: float | None = None) -> None:
        """See ``Client.load``."""
        await self._run(registry.load(name), timeout)

    async def unload(self, name: str, *, timeout: float | None = None) -> None:
        """See ``Client.unload``."""
        await self._run(registry.unload(name), timeout)

    async def ready(self, name: str = "", *, timeout: float | None = None) -> bool:
        """See ``Client.ready``."""
        return await self._run(registry.ready(name), timeout)

    # -- learning curves --------------------------------------------------------------------------

    async def extrapolate(
        self,
        model: str,
        y: ArrayLike,
        steps: ArrayLike | None = None,
        at: ArrayLike | None = None,
        quantiles: ArrayLike = QUANTILES,
        *,
        minimize: bool = False,
        bounds: tuple[float, float] = (0.0, 1.0),
        soft_bounds: tuple[float, float] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Posterior:
        """See ``Client.extrapolate``."""
        metric = Metric(minimize, bounds, soft_bounds)
        made = curves.extrapolate(model, y, steps, at, quantiles, metric, key)
        return await self._run(made, timeout)

    async def extrapolate_many(
        self,
        model: str,
        ys: Sequence[ArrayLike],
        steps: Sequence[ArrayLike | None] | None = None,
        at: Sequence[ArrayLike | None] | None = None,
        quantiles: ArrayLike = QUANTILES,
        *,
        minimize: bool = False,
        bounds: tuple[float, float] = (0.0, 1.0),
        soft_bounds: tuple[float, float] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> list[Posterior]:
        """See ``Client.extrapolate_many``."""
        metric = Metric(minimize, bounds, soft_bounds)
        made = curves.extrapolate_many(model, ys, steps, at, quantiles, metric, key)
        return await self._run(made, timeout)

    def watch(
        self,
        model: str,
        at: ArrayLike,
        *,
        minimize: bool = False,
        bounds: tuple[float, float] = (0.0, 1.0),
        soft_bounds: tuple[float, float] | None = None,
        quantiles: ArrayLike = QUANTILES,
        best: float | None = None,
        threshold: float | None = None,
        seen: tuple[ArrayLike, ArrayLike] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> AsyncWatch:
        """See ``Client.watch``; an asynchronous context manager."""
        metric = Metric(minimize, bounds, soft_bounds)
        watched = Watched(model, metric, at, quantiles, best, threshold, seen, key)
        return AsyncWatch(self._transport, watched, self._seconds(timeout))

    # -- the rest ---------------------------------------------------------------------------------

    async def _run(self, steps: Steps[R], timeout: float | None) -> R:
        budget = Budget(self._seconds(timeout))
        return await adrive(steps, lambda action: self._transport.perform(action, budget))

    def _seconds(self, timeout: float | None) -> float:
        return self._connection.timeout if timeout is None else timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __getstate__(self) -> Connection:
        return self._connection

    def __setstate__(self, connection: Connection) -> None:
        self._open(connection)

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.address!r})"


class AsyncWatch:
    """See ``Watch``; its ``push`` is awaited."""

    def __init__(self, transport: _Transport, watched: Watched, timeout: float) -> None:
        self._transport = transport
        self._watched = watched
        self._timeout = timeout
        self._stream: _Stream | None = None

    @property
    def outlook(self) -> Outlook | None:
        """After the last observation; None before the run is begun."""
        return self._watched.outlook

    async def push(self, step: float, value: float, best: float | None = None) -> Outlook:
        """See ``Watch.push``."""
        return await self._run(self._watched.push(step, value, best))

    async def close(self) -> None:
        """End the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _run(self, steps: Steps[Outlook]) -> Outlook:
        budget = Budget(self._timeout)
        return await adrive(steps, lambda action: self._perform(action, budget))

    async def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return await self._transport.perform(action, budget)
        assert not isinstance(action, Unary | Upload)
        if action.fresh or self._stream is None:
            await self.close()
            self._stream = self._transport.stream(method("Curves.Watch"))
        try:
            return await self._stream.exchange(action.request, budget)
        except BaseException:
            self._stream.cancel()
            self._stream = None
            raise

    async def __aenter__(self) -> Self:
        await self._run(self._watched.begin())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class _Transport:
    """Performs actions on a channel, which belongs to the event loop of the first one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._metadata = connection.metadata
        self._pid = os.getpid()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._calls: dict[Method, Any] = {}

    async def perform(self, action: Action, budget: Budget) -> Any:
        """One action, within what is left of the time."""
        left = budget.left()
        match action:
            case Pause(seconds):
                if left is not None and seconds >= left:
                    raise DeadlineExceeded(f"no answer within {budget.seconds:g} s")
                await asyncio.sleep(seconds)
                return None
            case Unary(called, request):
                made = self._made(called, "unary_unary")
                return called.read(await self._guarded(made, request, left))
            case Upload(called, messages):
                # Not grpc.aio's own call for this, which loses the status of one that ends early.
                stream, outgoing = self.stream(called), _Outgoing(messages)
                try:
                    return await stream.upload(aiter(outgoing), budget)
                finally:
                    stream.cancel()
                    outgoing.expect_whole()
        raise AssertionError(f"{action} belongs to a stream")

    def stream(self, called: Method) -> _Stream:
        """A new stream."""
        made = self._made(called, "stream_stream")
        return _Stream(called, made(metadata=self._metadata), self._connection.address)

    async def close(self) -> None:
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _guarded(self, made: Any, request: Any, left: float | None) -> Any:
        try:
            return await made(request, timeout=left, metadata=self._metadata)
        except grpc.RpcError as e:
            raise failure(e, self._connection.address) from e
        except grpc.aio.BaseError as e:
            raise FailedPrecondition(f"the client was closed: {e}") from e
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or not task.cancelling():  # by closing the channel, not by the caller
                raise Cancelled("the client was closed") from e
            raise

    def _made(self, called: Method, kind: str) -> Any:
        """What calls a method."""
        if self._closed:
            raise FailedPrecondition("the client is closed; make a new one")
        if os.getpid() != self._pid:
            raise FailedPrecondition("a client does not survive a fork; make one in each process")
        if self._channel is None:
            self._connect()
        if asyncio.get_running_loop() is not self._loop:
            raise FailedPrecondition("the client belongs to another event loop; make a new one")
        if called not in self._calls:
            make = getattr(self._channel, kind)
            self._calls[called] = make(called.path, SERIALIZE)
        return self._calls[called]

    def _connect(self) -> None:
        target, options = self._connection.target, self._connection.options()
        secret = self._connection.credentials()
        self._loop = asyncio.get_running_loop()
        if secret is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, secret, options)


class _Outgoing:
    """Takes messages from a thread; gRPC swallows what they raise, so it is kept."""

    def __init__(self, messages: Iterator[Message]) -> None:
        self._messages = messages
        self._error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[Message]:
        while True:
            try:
                message = await asyncio.to_thread(next, self._messages, None)
            except Exception as e:
                self._error = e
                return
            if message is None:
                return
            yield message

    def expect_whole(self) -> None:
        """Raise what the messages have raised."""
        if self._error is not None:
            raise self._error


class _Stream:
    """One message out, one back."""

    def __init__(self, called: Method, call: Any, address: str) -> None:
        self._called = called
        self._call = call
        self._address = address

    async def exchange(self, request: Message, budget: Budget) -> Any:
        """Send and await."""
        async with self._ours(budget):
            await self._call.write(request)
            return await self._reply()

    async def upload(self, messages: AsyncIterator[Message], budget: Budget) -> Any:
        """Send all, end, and await."""
        async with self._ours(budget):
            async for message in messages:
                await self._call.write(message)
            await self._call.done_writing()
            return await self._reply()

    @asynccontextmanager
    async def _ours(self, budget: Budget) -> AsyncIterator[None]:
        """Make what fails an error of ours."""
        try:
            async with asyncio.timeout(budget.left()):
                yield
        except ForetokenError:
            raise  # one of them is a TimeoutError too
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {budget.seconds:g} s") from None
        except grpc.RpcError as e:
            raise failure(e, self._address) from e
        except asyncio.InvalidStateError:  # written to after its end
            raise await self._fault() from None
        except grpc.aio.BaseError as e:
            raise Unavailable(f"{self._address}: the stream has ended: {e}") from e
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                raise Cancelled("the client was closed") from e
            raise

    async def _reply(self) -> Any:
        data = await self._call.read()
        if data is grpc.aio.EOF:
            raise await self._fault()
        return self._called.read(data)

    async def _fault(self) -> ForetokenError:
        """Why the stream has ended before an answer."""
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            return Unavailable(f"{self._address} has ended the stream")
        details, trailers = await self._call.details(), await self._call.trailing_metadata()
        return failure(grpc.aio.AioRpcError(code, None, trailers, details), self._address)

    async def close(self) -> None:
        """End it in order if the server answers at once, else cancel it."""
        try:
            async with asyncio.timeout(FAREWELL):
                await self._call.done_writing()
                await self._call.read()
        except (TimeoutError, grpc.RpcError, grpc.aio.BaseError, asyncio.InvalidStateError):
            pass
        finally:
            self.cancel()

    def cancel(self) -> None:
        """End it now."""
        self._call.cancel()
