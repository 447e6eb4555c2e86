"""What a worker counts, and what all workers have counted together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Hashable
from pathlib import Path

import foretoken
from foretoken import errors
from foretoken.server.engine.observer import Batch, Lookup, Served, Shed
from foretoken.server.metrics.cells import Cells, merge
from foretoken.server.metrics.definitions import SECONDS
from foretoken.server.metrics.generation import AnswerCounts, PoolCounts
from foretoken.server.metrics.models import ModelCounts, VersionCounts, cell_of
from foretoken.server.metrics.shares import Share

__all__ = ["Metrics"]

PERIOD = 0.5  # seconds between two writings of a worker's counts
OTHER = "other"
MODELS = 200
VERSIONS = 16  # of one model, for statistics
METHODS = 200


def _outcome(error: str) -> str:
    """The label of an error: a class of our tree, so that there are few."""
    if error == "CancelledError":  # asyncio's, when the caller has gone
        return "Cancelled"
    return error if error in errors.__all__ else "InternalError"


def _shown(cells: Cells, accept: str) -> tuple[bytes, str]:
    from foretoken.server.metrics.exposition import exposition  # noqa: PLC0415 - takes 50 ms

    return exposition(cells, accept)


class Metrics:
    """Hears what engine, plane and doors do, counts it, and tells the sum over all workers.

    It is an ``Observer`` and an ``RpcObserver``. Its methods belong to the event loop's thread and
    cost about a microsecond: they add to lists, and nothing else; the lists are written
    out every half second, so that what a killed worker did in its last half second is not counted.

    Args:
        folder: where the workers of a server share their counts; None for a process on its own.
        models: so many names of models are told apart in labels, the first that the plane knows;
            all others are "other".
    """

    def __init__(self, folder: Path | None = None, *, models: int = MODELS) -> None:
        self._cells: Cells = {}
        self._share = None if folder is None else Share(folder, os.getpid())
        self._most = models
        self._models: dict[str, ModelCounts] = {}
        self._other: ModelCounts | None = None
        self._versions: dict[tuple[str, int], VersionCounts] = {}
        self._held: dict[tuple[str, int], deque[int]] = {}
        self._rpcs: dict[tuple[str, str], list[float]] = {}
        self._methods: dict[str, list[float]] = {}
        self._pools: dict[Hashable, PoolCounts] = {}
        self._answers: dict[str, AnswerCounts] = {}
        self._writer: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        cell_of(self._cells, "foretoken_info", foretoken.__version__)[0] = 1
        cell_of(self._cells, "foretoken_start_time_seconds")[0] = time.time()
        cell_of(self._cells, "foretoken_workers")[0] = 1

    # -- the engine and the plane -----------------------------------------------------------------

    def batch(self, batch: Batch) -> None:
        """A batch has run."""
        (self._models.get(batch.model) or self._model(batch.model)).batch(batch)
        key = batch.model, batch.version
        if (version := self._versions.get(key) or self._version(*key)) is not None:
            version.batch(batch)

    def served(self, served: Served) -> None:
        """A request has ended."""
        model = self._models.get(served.model) or self._model(served.model)
        key = served.model, served.version
        version = self._versions.get(key) or self._version(*key)
        if served.error:
            model.failed(_outcome(served.error), served.seconds)
            if version is not None:
                version.failed(served.seconds)
        else:
            model.answered(served)
            if version is not None:
                version.answered(served)

    def shed(self, model: str, why: Shed) -> None:
        """A request was refused before any of it waited."""
        self._model(model).count("foretoken_sheds_total", why)

    def loaded(self, model: str, version: int, seconds: float, nbytes: int) -> None:
        """A version is loaded and warm; one that is loaded anew is unloaded later."""
        key = model, version
        self._held.setdefault(key, deque()).append(nbytes)
        counts = self._model(model)
        counts.loaded(seconds)
        counts.held(1)
        cell_of(self._cells, "foretoken_loaded_bytes", "weights")[0] += nbytes
        if key not in self._versions:
            self._version(*key)

    def unloaded(self, model: str, version: int) -> None:
        """A version is no longer held."""
        if held := self._held.get((model, version)):
            self._model(model).held(-1)
            cell_of(self._cells, "foretoken_loaded_bytes", "weights")[0] -= held.popleft()
            if not held:
                del self._held[model, version]

    def load_failed(self, model: str, version: int, error: BaseException) -> None:  # noqa: ARG002
        """A version could not be loaded; whatever served before goes on serving."""
        self._model(model).count("foretoken_model_load_failures_total")

    def waiting(self, model: str, change: int) -> None:
        """So many more calls wait for the model, or fewer."""
        (self._models.get(model) or self._model(model)).waiting[0] += change

    def context(self, model: str, lookup: Lookup) -> None:
        """A request's training set was looked for among the contexts."""
        self._model(model).count("foretoken_context_requests_total", lookup)

    def contexts_evicted(self, count: int) -> None:
        """States of so many contexts were removed from the disk to make room."""
        cell_of(self._cells, "foretoken_context_evictions_total")[0] += count

    def contexts_kept(self, count: int, table: int, state: int) -> None:
        """What is kept now; one worker tells of what belongs to all, the others of nothing."""
        cell_of(self._cells, "foretoken_contexts")[0] = count
        cell_of(self._cells, "foretoken_contexts_bytes", "table")[0] = table
        cell_of(self._cells, "foretoken_contexts_bytes", "state")[0] = state

    def sessions(self, model: str, change: int, nbytes: int) -> None:
        """So many sessions of the model more, or less, have a slot now, of so many bytes each."""
        label = self._model(model).label
        cell_of(self._cells, "foretoken_sessions_live", label)[0] += change
        cell_of(self._cells, "foretoken_sessions_bytes", label)[0] += change * nbytes

    def pool(self, pool: Hashable, model: str, blocks: int) -> None:
        """A pool of blocks for keys and values is there, or no longer."""
        if (held := self._pools.pop(pool, None)) is not None:
            held.forget()
        if blocks:
            self._pools[pool] = PoolCounts(self._cells, self._model(model).label, blocks)

    def blocks_free(self, pool: Hashable, blocks: int) -> None:
        """So many of a pool's blocks are free now; one that is no longer held does not count."""
        if (counts := self._pools.get(pool)) is not None:
            counts.free(blocks)

    def first_token(self, model: str, seconds: float, prompt: int, reused: int) -> None:
        """An answer has begun."""
        (self._answers.get(model) or self._answer(model)).first(seconds, prompt, reused)

    def next_token(self, model: str, seconds: float) -> None:
        """An answer goes on."""
        (self._answers.get(model) or self._answer(model)).next(seconds)

    def preempted(self, model: str, count: int) -> None:
        """So many requests gave their blocks back."""
        (self._answers.get(model) or self._answer(model)).preemptions[0] += count

    # -- the doors --------------------------------------------------------------------------------

    def rpc(self, method: str, model: str, code: str, seconds: float, encode: float) -> None:
        """A gRPC call has ended.

        Args:
            method: full name.
            model: that answered, "" when none did.
            code: gRPC status code's name.
            seconds: from the call's arrival.
            encode: seconds spent neither in the plane nor waiting for the caller.
        """
        count = self._rpcs.get((method, code)) or self._rpc(method, code)
        count[0] += 1
        cell = self._methods.get(method) or self._methods[OTHER]
        cell[bisect_left(SECONDS, seconds)] += 1
        cell[-1] += seconds
        if model and code == "OK":
            (self._models.get(model) or self._others()).encoded(encode)
        elif code == "PERMISSION_DENIED":
            self.refused("scope")

    def stream(self, method: str, delta: int) -> None:
        """A gRPC stream has been opened (+1) or closed (-1)."""
        cell_of(self._cells, "foretoken_streams_live", self._method(method))[0] += delta

    def cancelled(self, method: str, model: str) -> None:  # noqa: ARG002
        """A gRPC call's caller has gone; which model it meant is often not known."""
        cell_of(self._cells, "foretoken_cancellations_total", self._method(method))[0] += 1

    def deadline_missed(self, method: str, model: str) -> None:  # noqa: ARG002
        """A gRPC call's deadline has passed."""
        cell_of(self._cells, "foretoken_deadline_misses_total", self._method(method))[0] += 1

    def refused(self, why: str, peer: str = "") -> None:  # noqa: ARG002
        """The gate has refused a call: its token is missing, unknown, ..., or at its "rate"."""
        if why == "rate":
            cell_of(self._cells, "foretoken_rate_limited_total")[0] += 1
        else:
            cell_of(self._cells, "foretoken_auth_failures_total", why)[0] += 1

    # -- all workers together ---------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to share with the other workers; OSError if the folder cannot be written."""
        if self._share is not None and self._writer is None:
            await asyncio.to_thread(self._share.write, self._own())
            self._writer = asyncio.create_task(self._keep_sharing(self._share))

    async def stop(self) -> None:
        """Share a last time, and no more."""
        if self._writer is not None:
            self._stopping.set()
            await self._writer

    async def cells(self) -> Cells:
        """The sum over all workers, this one's as of now, others' at most half a second old."""
        own, share = self._own(), self._share
        if share is None:
            return own
        return await asyncio.to_thread(lambda: merge([own, *share.others()]))

    async def uptime(self) -> float:
        """Seconds since the server's first worker was started."""
        cells = await self.cells()
        return time.time() - cells["foretoken_start_time_seconds",][0]

    async def text(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as Prometheus reads them, and their content type.

        Args:
            accept: the header of that name; it may ask for OpenMetrics.
        """
        cells = await self.cells()
        return await asyncio.to_thread(_shown, cells, accept)

    async def _keep_sharing(self, share: Share) -> None:
        last = False
        while not last:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), PERIOD)
            last = self._stopping.is_set()
            try:
                await asyncio.to_thread(share.write, self._own())
            except OSError:  # a full disk must not end the counting; the next may succeed
                cell_of(self._cells, "foretoken_share_failures_total")[0] += 1

    def _own(self) -> Cells:
        """A copy of this worker's cells, so that another thread may read them."""
        cell_of(self._cells, "foretoken_cpu_seconds_total")[0] = time.process_time()
        return {series: cell.copy() for series, cell in self._cells.items()}

    # -- what is not there yet --------------------------------------------------------------------

    def _model(self, name: str) -> ModelCounts:
        found = self._models.get(name)
        if found is None and len(self._models) < self._most:
            found = self._models[name] = ModelCounts(self._cells, name)
        return found or self._others()

    def _others(self) -> ModelCounts:
        if self._other is None:
            self._other = ModelCounts(self._cells, OTHER)
        return self._other

    def _answer(self, model: str) -> AnswerCounts:
        label = self._model(model).label
        found = self._answers.get(label)
        if found is None:
            found = self._answers[label] = AnswerCounts(self._cells, label)
        return found

    def _version(self, model: str, number: int) -> VersionCounts | None:
        """The counts of a version; None when its model is among the others."""
        if model not in self._models:
            return None
        mine = {key: counts for key, counts in self._versions.items() if key[0] == model}
        if len(mine) >= VERSIONS:  # forget the one that has been silent for longest
            silent = min(mine, key=lambda key: (key in self._held, mine[key].latest[0]))
            self._versions.pop(silent).forget()
        counts = self._versions[model, number] = VersionCounts(self._cells, model, number)
        return counts

    def _rpc(self, method: str, code: str) -> list[float]:
        label = self._method(method)
        cell = cell_of(self._cells, "foretoken_rpcs_total", label, code)
        if label == method:
            self._rpcs[method, code] = cell
        return cell

    def _method(self, name: str) -> str:
        """The label of a method, whose histogram is there from then on."""
        if name not in self._methods:
            name = name if len(self._methods) < METHODS else OTHER
            self._methods[name] = cell_of(self._cells, "foretoken_rpc_seconds", name)
        return name
