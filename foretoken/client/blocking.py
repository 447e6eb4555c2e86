"""The client that waits for its answers, on ``grpc``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from foretoken.client import curves, registry
from foretoken.client.blocking_transport import Stream, Transport
from foretoken.client.connection import TIMEOUT, Connection
from foretoken.client.curves import Metric
from foretoken.client.describe import ModelInfo
from foretoken.client.methods import method
from foretoken.client.operations import Action, Budget, Pause, Steps, Unary, Upload, drive
from foretoken.client.upload import Progress
from foretoken.client.watching import Outlook, Watched
from foretoken.posterior import QUANTILES, Posterior
from foretoken.records import Alias, AliasEvent, FileReport, Model, Version

__all__ = ["Client", "Watch"]

R = TypeVar("R")

LONG = 3600.0  # seconds that uploads and verifications may take by default


class Client:
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

    def delete(self, ref: str, *, timeout: float | None = None) -> Version:
        """Delete a version, given as ``NAME:VERSION``, that no alias points at."""
        return self._run(registry.delete(ref), timeout)

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


class Watch:
    """A run that is followed; made by ``Client.watch``, for one thread at a time.

    It survives the loss of its connection: the server is then told the run anew.
    """

    def __init__(self, transport: Transport, watched: Watched, timeout: float) -> None:
        self._transport = transport
        self._watched = watched
        self._timeout = timeout
        self._stream: Stream | None = None

    @property
    def outlook(self) -> Outlook | None:
        """After the last observation; None before the run is begun."""
        return self._watched.outlook

    def push(self, step: float, value: float, best: float | None = None) -> Outlook:
        """Tell one evaluation, and perhaps a new value to beat; see ``Outlook`` for the answer.

        Raises:
            InvalidInput: if ``step`` does not lie behind the last, or ``value`` is out of bounds;
                the run stays as it was.
        """
        return self._run(self._watched.push(step, value, best))

    def close(self) -> None:
        """End the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _run(self, steps: Steps[Outlook]) -> Outlook:
        budget = Budget(self._timeout)
        return drive(steps, lambda action: self._perform(action, budget))

    def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return self._transport.perform(action, budget)
        assert not isinstance(action, Unary | Upload)
        if action.fresh or self._stream is None:
            self.close()
            self._stream = self._transport.stream(method("Curves.Watch"))
        try:
            return self._stream.exchange(action.request, budget)
        except BaseException:
            self._stream.cancel()
            self._stream = None
            raise

    def __enter__(self) -> Self:
        self._run(self._watched.begin())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
