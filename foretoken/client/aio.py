"""The client for asyncio, on ``grpc.aio``; its methods are those of ``Client``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from foretoken.client import curves, registry, snapshots, tabular
from foretoken.client.aio_generation import AsyncGeneration
from foretoken.client.aio_graphs import AsyncGraphs
from foretoken.client.aio_session import AsyncSession, begun
from foretoken.client.aio_texts import AsyncTexts
from foretoken.client.aio_transport import Transport
from foretoken.client.aio_watch import AsyncWatch
from foretoken.client.blocking import LONG
from foretoken.client.connection import TIMEOUT, Connection
from foretoken.client.curves import Metric
from foretoken.client.describe import ModelInfo
from foretoken.client.flow import aflowing
from foretoken.client.opening import Resumed, opening
from foretoken.client.operations import Budget, Steps, adrive
from foretoken.client.predictions import Fitted, Prediction
from foretoken.client.snapshots import Kept, Snapshot
from foretoken.client.tables import TableLike
from foretoken.client.tabular import Given, TableFlow
from foretoken.client.upload import Progress
from foretoken.client.watching import Watched
from foretoken.posterior import QUANTILES, Posterior
from foretoken.records import (
    Alias,
    AliasEvent,
    ContextRecord,
    FileReport,
    Model,
    SnapshotRecord,
    Version,
)

__all__ = ["AsyncClient", "AsyncWatch"]

R = TypeVar("R")


class AsyncClient(AsyncGeneration, AsyncGraphs, AsyncTexts):
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
        self._transport = Transport(connection)

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

    async def delete(
        self, ref: str, *, force: bool = False, timeout: float | None = None
    ) -> Version:
        """See ``Client.delete``."""
        return await self._run(registry.delete(ref, force), timeout)

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

    # -- tables -----------------------------------------------------------------------------------

    async def fit(
        self,
        model: str,
        columns: TableLike,
        target: str | ArrayLike,
        *,
        categorical: Iterable[str] = (),
        options: Mapping[str, float | str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Fitted:
        """See ``Client.fit``."""
        training = tabular.training_message(columns, target, categorical, options)
        return await self._run(tabular.fitted(model, training, key), timeout)

    async def measure(
        self,
        model: str,
        columns: TableLike,
        target: str | ArrayLike,
        *,
        categorical: Iterable[str] = (),
        options: Mapping[str, float | str] | None = None,
        key: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """See ``Client.measure``."""
        training = tabular.training_message(columns, target, categorical, options)
        return await self._run(tabular.measure(model, training, key), timeout)

    async def predict(
        self,
        context: Fitted | ContextRecord | str | None = None,
        test: TableLike | None = None,
        *,
        model: str | None = None,
        train: TableLike | None = None,
        target: str | ArrayLike | None = None,
        categorical: Iterable[str] = (),
        options: Mapping[str, float | str] | None = None,
        uncertainty: bool = False,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """See ``Client.predict``."""
        given = Given(context, model, train, target, categorical, options)
        made = tabular.predict(given, test, key, uncertainty=uncertainty)
        return await self._run(made, timeout)

    def predict_stream(
        self,
        context: Fitted | ContextRecord | str | None,
        chunks: Iterable[TableLike] | AsyncIterable[TableLike],
        *,
        model: str | None = None,
        train: TableLike | None = None,
        target: str | ArrayLike | None = None,
        categorical: Iterable[str] = (),
        options: Mapping[str, float | str] | None = None,
        uncertainty: bool = False,
        key: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Prediction]:
        """See ``Client.predict_stream``; ``chunks`` may be asynchronous."""
        given = Given(context, model, train, target, categorical, options)
        flow = TableFlow(given, key, uncertainty=uncertainty)
        return aflowing(self._transport, flow, chunks, self._seconds(timeout))

    async def context(
        self, context: Fitted | ContextRecord | str, *, timeout: float | None = None
    ) -> ContextRecord:
        """See ``Client.context``."""
        return await self._run(tabular.context(tabular.id_of(context)), timeout)

    async def contexts(
        self, model: str | None = None, *, timeout: float | None = None
    ) -> list[ContextRecord]:
        """See ``Client.contexts``."""
        return await self._run(tabular.contexts(model), timeout)

    async def delete_context(
        self, context: Fitted | ContextRecord | str, *, timeout: float | None = None
    ) -> None:
        """See ``Client.delete_context``."""
        await self._run(tabular.delete(tabular.id_of(context)), timeout)

    # -- sequences --------------------------------------------------------------------------------

    def stream(
        self,
        model: str | None = None,
        resume: Resumed | None = None,
        *,
        durable: bool = False,
        deterministic: bool = False,
        checkpoint_every: int = 0,
        key: str | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> AsyncSession:
        """See ``Client.stream``; an asynchronous context manager."""
        asked = opening(model, resume, durable, deterministic, checkpoint_every, key, options)
        return begun(self._transport, asked, self._seconds(timeout))

    async def snapshots(
        self, model: str | None = None, *, timeout: float | None = None
    ) -> list[SnapshotRecord]:
        """See ``Client.snapshots``."""
        return await self._run(snapshots.snapshots(model), timeout)

    async def snapshot(
        self,
        digest: Kept,
        include_bytes: bool = False,
        *,
        timeout: float | None = None,
    ) -> Snapshot:
        """See ``Client.snapshot``."""
        return await self._run(snapshots.snapshot(digest, include_bytes=include_bytes), timeout)

    async def restore(self, data: bytes, *, timeout: float | None = None) -> SnapshotRecord:
        """See ``Client.restore``."""
        return await self._run(snapshots.restore(data), timeout)

    async def delete_snapshot(self, digest: Kept, *, timeout: float | None = None) -> None:
        """See ``Client.delete_snapshot``."""
        await self._run(snapshots.delete(digest), timeout)

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
