"""The client that waits for its answers, on ``grpc``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from foretoken.client import curves, registry, snapshots, tabular
from foretoken.client.blocking_generation import Generation
from foretoken.client.blocking_graphs import Graphs
from foretoken.client.blocking_session import Session, begun
from foretoken.client.blocking_texts import Texts
from foretoken.client.blocking_transport import Transport
from foretoken.client.blocking_watch import Watch
from foretoken.client.connection import TIMEOUT, Connection
from foretoken.client.curves import Metric
from foretoken.client.describe import ModelInfo
from foretoken.client.flow import flowing
from foretoken.client.opening import Resumed, opening
from foretoken.client.operations import Budget, Steps, drive
from foretoken.client.predictions import Fitted, Prediction
from foretoken.client.snapshots import Kept, Snapshot
from foretoken.client.tables import TableLike
from foretoken.client.tabular import Given, TableFlow
from foretoken.client.upload import Progress
from foretoken.client.watching import Watched
from foretoken.posterior import QUANTILES, Posterior
from foretoken.records import Alias, AliasEvent, ContextRecord, FileReport, Model, Version
from foretoken.records import SnapshotRecord as Record

__all__ = ["Client", "Watch"]

R = TypeVar("R")

LONG = 3600.0  # seconds that uploads and verifications may take by default


class Client(Generation, Graphs, Texts):
    """A connection to a server; threads may share it.

    It does not survive a fork: make one in each process. It can be pickled, and then connects
    anew, with the same token.

    Args:
        address: "host:port", "[ipv6]:port" or "unix:/path"; the port is 8100 unless given.
        token: bearer token. Over a network it is sent with TLS only.
        tls: encrypt; implied by any of the next three.
        ca: PEM file of the authorities to trust instead of the system's.
        cert, key: PEM files of this client's own certificate; both or neither.
        timeout: seconds that an operation may take, over all of its calls and retries, unless it
            says otherwise; infinity for no deadline.
        allow_plaintext_token: send the token unencrypted to another machine.

    Raises:
        InvalidInput: if these do not go together.
        NotFound: if a file is not there.

    Every method raises errors of ``foretoken.errors`` and nothing else: those that the server
    names, Unavailable if it cannot be reached, DeadlineExceeded when the time is up. Calls that
    change nothing are tried again while the server is unreachable or overloaded.
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

    def close(self) -> None:
        """Close the connection; calls in flight fail."""
        self._transport.close()

    # -- registry ---------------------------------------------------------------------------------

    def models(
        self,
        after: str | None = None,
        limit: int | None = None,
        *,
        timeout: float | None = None,
    ) -> list[Model]:
        """Registered models by name, beginning behind ``after``: all of them, or ``limit``."""
        return self._run(registry.models(after, limit), timeout)

    def model(self, ref: str, *, timeout: float | None = None) -> ModelInfo:
        """What ``NAME``, ``NAME:VERSION`` or ``ALIAS@NAME`` points at."""
        return self._run(registry.model(ref), timeout)

    def versions(
        self,
        name: str,
        after: int | None = None,
        limit: int | None = None,
        *,
        unready: bool = False,
        timeout: float | None = None,
    ) -> list[Version]:
        """Versions, newest first, below ``after``; ``unready``: PENDING and FAILED ones too."""
        return self._run(registry.versions(name, after, limit, unready), timeout)

    def register(
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
        """Send an artefact folder, which becomes a new version; ``progress`` hears of bytes."""
        made = registry.register(name, Path(folder), tags, parent, relation, progress)
        return self._run(made, timeout)

    def verify(
        self,
        ref: str | None = None,
        *,
        heard: Callable[[FileReport], None] | None = None,
        timeout: float | None = LONG,
    ) -> list[FileReport]:
        """Have the files of one version, or of all, hashed again; ``heard`` gets each report."""
        return self._run(registry.verify(ref, heard), timeout)

    def delete(self, ref: str, *, force: bool = False, timeout: float | None = None) -> Version:
        """Delete a version, given as ``NAME:VERSION``, that no alias points at.

        With ``force``, also one that contexts, sessions or snapshots need; they are erased too.
        """
        return self._run(registry.delete(ref, force), timeout)

    def aliases(self, name: str, *, timeout: float | None = None) -> list[Alias]:
        """All aliases of a model."""
        return self._run(registry.aliases(name), timeout)

    def set_alias(
        self,
        name: str,
        alias: str,
        version: int,
        *,
        canary: float | None = None,
        expect_generation: int | None = None,
        timeout: float | None = None,
    ) -> Alias:
        """Point an alias at a version, or send that share (percent) of its traffic there.

        With ``expect_generation``, StaleGeneration is raised if somebody else has moved it.
        """
        made = registry.set_alias(name, alias, version, canary, expect_generation)
        return self._run(made, timeout)

    def delete_alias(
        self,
        name: str,
        alias: str,
        *,
        expect_generation: int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Remove an alias; its history stays."""
        self._run(registry.delete_alias(name, alias, expect_generation), timeout)

    def history(
        self, name: str, alias: str | None = None, *, timeout: float | None = None
    ) -> list[AliasEvent]:
        """Every move of a model's aliases, or of one, oldest first."""
        return self._run(registry.history(name, alias), timeout)

    def rollback(
        self, name: str, alias: str = "champion", *, timeout: float | None = None
    ) -> Alias:
        """Undo the last move of an alias; again, the one before it."""
        return self._run(registry.rollback(name, alias), timeout)

    def options(self, name: str, *, timeout: float | None = None) -> dict[str, Any]:
        """The serving options that are set for all versions of a model."""
        return self._run(registry.options(name), timeout)

    def set_options(
        self, name: str, given: Mapping[str, Any], *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Set the serving options of a model, in the place of those set before."""
        return self._run(registry.set_options(name, given), timeout)

    def load(self, name: str, *, timeout: float | None = None) -> None:
        """Have a model served, by all workers and across restarts."""
        self._run(registry.load(name), timeout)

    def unload(self, name: str, *, timeout: float | None = None) -> None:
        """Have a model served no longer, until ``load``."""
        self._run(registry.unload(name), timeout)

    def ready(self, name: str = "", *, timeout: float | None = None) -> bool:
        """Whether the server, or one model of it, would answer; NotFound if there is no such."""
        return self._run(registry.ready(name), timeout)

    # -- learning curves --------------------------------------------------------------------------

    def extrapolate(
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
        """Extrapolate one curve; arguments are those of ``CurveExtrapolator.extrapolate``.

        ``key`` chooses the side of a canary; the same key is always on the same side.
        """
        metric = Metric(minimize, bounds, soft_bounds)
        return self._run(curves.extrapolate(model, y, steps, at, quantiles, metric, key), timeout)

    def extrapolate_many(
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
        """Extrapolate many curves in shared batches, all by one version."""
        metric = Metric(minimize, bounds, soft_bounds)
        made = curves.extrapolate_many(model, ys, steps, at, quantiles, metric, key)
        return self._run(made, timeout)

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
    ) -> Watch:
        """Follow a run: a context manager, whose ``push`` takes one evaluation after the other.

        Args:
            model: one version of it answers for the whole run.
            at: steps to predict; those already passed are left out.
            minimize: whether lower is better.
            bounds: hard limits of the metric; either may be infinite.
            soft_bounds: range in which values are told apart best.
            quantiles: levels to report.
            best: value to beat; without one there is no advice.
            threshold: stop when the chance of beating it is at most that; the default is 0.05.
            seen: steps and values of a run that has already begun.
            key: chooses the side of a canary.
            timeout: seconds for each answer.
        """
        metric = Metric(minimize, bounds, soft_bounds)
        watched = Watched(model, metric, at, quantiles, best, threshold, seen, key)
        return Watch(self._transport, watched, self._seconds(timeout))

    # -- tables -----------------------------------------------------------------------------------

    def fit(
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
        """Have a model read labelled rows, and keep what it has read as a context.

        The same rows, options and model version give the same context.

        Args:
            model: ``NAME`` (its champion), ``NAME:VERSION`` or ``ALIAS@NAME``.
            columns: by name, each [N]: numbers, booleans or text, None or NaN where missing; or
                the bytes of an Arrow IPC stream or of CSV, or the path of a file of either.
            target: the labels [N]: integers, booleans or text; or the column that holds them.
            categorical: numeric columns whose values have no order; text has none anyway.
            options: of the model's family.
            key: chooses the side of a canary; the same key is always on the same side.
            timeout: seconds.
        """
        training = tabular.training_message(columns, target, categorical, options)
        return self._run(tabular.fitted(model, training, key), timeout)

    def measure(
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
        """Bytes that the context of these rows would take; arguments are those of ``fit``."""
        training = tabular.training_message(columns, target, categorical, options)
        return self._run(tabular.measure(model, training, key), timeout)

    def predict(
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
        """Class probabilities of rows.

        Args:
            context: what ``fit`` returned, or its id.
            test: the columns that were fitted, in any order, each [M].
            model: with ``train`` and ``target``, in the place of a context; see ``fit``.
            train: see ``columns`` of ``fit``.
            target: see ``fit``.
            categorical: see ``fit``.
            options: see ``fit``.
            uncertainty: tell, too, how far the members of the ensemble disagree.
            key: see ``fit``.
            timeout: seconds.
        """
        given = Given(context, model, train, target, categorical, options)
        made = tabular.predict(given, test, key, uncertainty=uncertainty)
        return self._run(made, timeout)

    def predict_stream(
        self,
        context: Fitted | ContextRecord | str | None,
        chunks: Iterable[TableLike],
        *,
        model: str | None = None,
        train: TableLike | None = None,
        target: str | ArrayLike | None = None,
        categorical: Iterable[str] = (),
        options: Mapping[str, float | str] | None = None,
        uncertainty: bool = False,
        key: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[Prediction]:
        """Class probabilities of any number of rows, a prediction for each chunk, in order.

        A few chunks are on their way at a time; ``chunks`` is read as fast as they are answered.
        A connection that is lost is made anew, and no chunk with it.

        Args:
            context: what ``fit`` returned, or its id; or None, with ``model`` and labelled rows,
                which are fitted first.
            chunks: tables, each as ``test`` of ``predict``.
            model: see ``predict``, as for those that follow.
            train: rows to learn from.
            target: their labels.
            categorical: numeric columns whose values have no order.
            options: of the model's family.
            uncertainty: of each row, too.
            key: chooses the side of a canary.
            timeout: seconds for each answer.
        """
        given = Given(context, model, train, target, categorical, options)
        flow = TableFlow(given, key, uncertainty=uncertainty)
        return flowing(self._transport, flow, chunks, self._seconds(timeout))

    def context(
        self, context: Fitted | ContextRecord | str, *, timeout: float | None = None
    ) -> ContextRecord:
        """What is kept of a context."""
        return self._run(tabular.context(tabular.id_of(context)), timeout)

    def contexts(
        self, model: str | None = None, *, timeout: float | None = None
    ) -> list[ContextRecord]:
        """Your contexts, or those that one model has made, by id."""
        return self._run(tabular.contexts(model), timeout)

    def delete_context(
        self, context: Fitted | ContextRecord | str, *, timeout: float | None = None
    ) -> None:
        """Erase a context, and all that was computed from it."""
        self._run(tabular.delete(tabular.id_of(context)), timeout)

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
    ) -> Session:
        """Begin a session, or go on from a snapshot: a context manager that takes observations.

        Args:
            model: one version of it answers for the whole session; not needed to resume.
            resume: a snapshot, its digest or bytes; or the id of a durable session that was left.
            durable: nothing is lost or doubled when connection, worker or server are lost.
            deterministic: outputs are the same bits whatever else the server is doing.
            checkpoint_every: steps between states on the server's disk; 0: the server's default.
            key: chooses the side of a canary.
            timeout: seconds for each answer.
            options: of the model's family, such as ``horizon=24``.
        """
        asked = opening(model, resume, durable, deterministic, checkpoint_every, key, options)
        return begun(self._transport, asked, self._seconds(timeout))

    def snapshots(self, model: str | None = None, *, timeout: float | None = None) -> list[Record]:
        """Your snapshots, or those of one model, the last used first."""
        return self._run(snapshots.snapshots(model), timeout)

    def snapshot(
        self, digest: Kept, include_bytes: bool = False, *, timeout: float | None = None
    ) -> Snapshot:
        """What is kept of a snapshot, and the snapshot itself if asked for."""
        return self._run(snapshots.snapshot(digest, include_bytes=include_bytes), timeout)

    def restore(self, data: bytes, *, timeout: float | None = None) -> Record:
        """Have the server keep a snapshot that was taken elsewhere."""
        return self._run(snapshots.restore(data), timeout)

    def delete_snapshot(self, digest: Kept, *, timeout: float | None = None) -> None:
        """Erase a snapshot."""
        self._run(snapshots.delete(digest), timeout)

    # -- the rest ---------------------------------------------------------------------------------

    def _run(self, steps: Steps[R], timeout: float | None) -> R:
        budget = Budget(self._seconds(timeout))
        return drive(steps, lambda action: self._transport.perform(action, budget))

    def _seconds(self, timeout: float | None) -> float:
        return self._connection.timeout if timeout is None else timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getstate__(self) -> Connection:
        return self._connection

    def __setstate__(self, connection: Connection) -> None:
        self._open(connection)

    def __repr__(self) -> str:
        return f"Client({self._connection.address!r})"
