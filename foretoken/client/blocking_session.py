"""Sessions on ``grpc``: any number on a stream, each for one thread at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Any, Self, TypeVar

from numpy.typing import ArrayLike

from foretoken.client.blocking_transport import Stream, Transport, awaited
from foretoken.client.lines import Lines
from foretoken.client.methods import Method, method
from foretoken.client.operations import Action, Budget, Pause, Send, Steps, drive
from foretoken.client.outputs import Output, Want
from foretoken.client.snapshots import Snapshot
from foretoken.client.stepped import Opened, Stepped
from foretoken.errors import ForetokenError, Unavailable
from foretoken.proto import sequences as wire

__all__ = ["SLOW", "WINDOW", "Line", "Session", "begun"]

R = TypeVar("R")

WINDOW = 32  # inputs of a session that are on their way; the server lets a few more wait
SLOW = 0.002  # seconds; a source that makes one wait longer is alive, and each input has its answer


class Line(Stream):
    """A stream whose messages go to the sessions that they are for."""

    def __init__(self, called: Method, made: Any, metadata: Any, address: str) -> None:
        self._inboxes: dict[int, SimpleQueue[Any]] = {}
        self._lock = Lock()
        self._fault: ForetokenError | None = None
        super().__init__(called, made, metadata, address)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._fault is not None

    def receive_of(self, number: int, budget: Budget) -> Any:
        """The next message for a session.

        Raises:
            DeadlineExceeded: if there is none in time.
            ForetokenError: why there will be none.
        """
        inbox = self._inbox(number)
        found = awaited(inbox, budget)
        if isinstance(found, BaseException):
            inbox.put(found)  # for whoever asks again
            raise found
        return found

    def _inbox(self, number: int) -> SimpleQueue[Any]:
        with self._lock:
            if number not in self._inboxes:
                self._inboxes[number] = SimpleQueue()
                if self._fault is not None:
                    self._inboxes[number].put(self._fault)
            return self._inboxes[number]

    def _arrived(self, reply: bytes) -> None:
        try:
            message = self._called.read(reply)
        except ForetokenError as e:
            self._over(e)
            self._call.cancel()
            return
        self._inbox(message.session).put(message)

    def _over(self, error: ForetokenError) -> None:
        with self._lock:
            if self._fault is not None:
                return
            self._fault = error
            for inbox in self._inboxes.values():
                inbox.put(error)


class Session:
    """A model's state on a server, stepped by what it is told; made by ``Client.stream``.

    It is a context manager: opened when the block begins, and ended with it, when nothing of it is
    kept but its snapshots. A durable session survives the loss of connection, worker and server.
    """

    def __init__(
        self,
        transport: Transport,
        lines: Lines[Line],
        stepped: Stepped,
        timeout: float,
        line: Line | None = None,
    ) -> None:
        self._transport = transport
        self._lines = lines
        self._stepped = stepped
        self._timeout = timeout
        self._line = line

    # -- what it is -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Of the session; ``Client.stream(resume=...)`` takes it where a durable one was left."""
        return self.opened.id

    @property
    def opened(self) -> Opened:
        """Model, version, options, width of an observation and bytes of the state."""
        return self._stepped.opened

    @property
    def step(self) -> int:
        """Observations whose outputs have arrived."""
        return self._stepped.step

    @property
    def durable_step(self) -> int:
        """Of those, the ones that survive whatever happens; 0 unless it is durable."""
        return self._stepped.durable_step

    @property
    def resumes(self) -> int:
        """How often it has gone on after its stream had broken."""
        return self._stepped.resumes

    @property
    def replayed(self) -> int:
        """Observations that were told again then, answered ones and others."""
        return self._stepped.replayed

    # -- what it does -----------------------------------------------------------------------------

    def push(self, value: ArrayLike, want: Want = "every") -> Output:
        """Tell one observation or many, and return what the model answers.

        Args:
            value: of a model that observes one number a step: a number, or T of them; of one that
                observes D: [D], or [T, D]. Many are told in parts of 4,096, each once the one
                before it is answered.
            want: outputs after "every" observation, after the "last" alone, or "nothing".

        Raises:
            InvalidInput: if the observations are not acceptable; the session stays as it was. Of
                many, the session has taken the parts before the one that is refused, and nothing
                behind them: ``step`` says how far it has come.
            Unavailable: if the stream breaks and the session is not durable, or no server answers
                for half a minute.
            DeadlineExceeded: if there is no answer in time. A durable session then goes on without
                these observations; one that is not durable is of no more use.
        """
        return self._run(self._stepped.push(value, want))

    def follow(self, values: Iterable[ArrayLike], want: Want = "every") -> Iterator[Output]:
        """An output for each of ``values``, each as ``push`` takes it, in order.

        As long as ``values`` come at once, 32 of them are on their way at a time. Behind one that
        had to be waited for, the next is asked for only when all outputs are there. If one is
        refused, those that are on their way behind it are taken all the same.
        """
        window, source = 1, iter(values)
        try:
            while True:
                began = time.monotonic()
                try:
                    value = next(source)
                except StopIteration:
                    break
                slow = time.monotonic() - began > SLOW
                window = 1 if slow else min(2 * window, WINDOW)
                self._run(self._stepped.put(value, want))
                while self._stepped.untaken >= window:
                    yield self._run(self._stepped.take())
            while self._stepped.untaken:
                yield self._run(self._stepped.take())
        finally:
            self._run(self._stepped.forget())

    def snapshot(self, include_bytes: bool = False, keep: bool = True) -> Snapshot:
        """The state after all that was told, under a digest by which any session can go on from it.

        Args:
            include_bytes: fetch the snapshot itself, too.
            keep: have the server keep it; else its bytes are fetched, and there is no digest.
        """
        return self._run(self._stepped.snapshot(include_bytes=include_bytes, keep=keep))

    def fork(self) -> Session:
        """Another session that begins at the state where this one is, open, on the same stream."""
        stepped = self._run(self._stepped.fork(next(self._lines.numbers)))
        line = self._line
        assert line is not None
        self._lines.join(line)
        return Session(self._transport, self._lines, stepped, self._timeout, line)

    def close(self) -> None:
        """End the session; nothing of it is kept but its snapshots."""
        self._close(mend=True)

    # -- the rest ---------------------------------------------------------------------------------

    def _run(self, steps: Steps[R]) -> R:
        budget = Budget(self._timeout)
        return drive(steps, lambda action: self._perform(action, budget))

    def _perform(self, action: Action, budget: Budget) -> Any:
        if isinstance(action, Pause):
            return self._transport.perform(action, budget)
        if isinstance(action, Send):
            self._line = self._lines.attach(self._line, fresh=action.fresh)
            return self._line.send(action.request, budget)
        if self._line is None:
            raise Unavailable("the session has no stream")
        return self._line.receive_of(self._stepped.number, budget)

    def _close(self, *, mend: bool) -> None:
        try:
            self._run(self._stepped.close(mend=mend))
        finally:
            line, self._line = self._line, None
            if line is not None and self._lines.leave(line):
                line.close()

    def __enter__(self) -> Self:
        try:
            self._run(self._stepped.begin())
        except BaseException:
            self._close(mend=False)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._close(mend=True)
            return
        with suppress(ForetokenError):  # the block's own error is the one to hear of
            self._close(mend=False)


def begun(transport: Transport, opening: wire.SequenceOpen, timeout: float) -> Session:
    """A session on a stream of its own, opened with its block; ``timeout``: of each answer."""
    called = method("Sequences.Stream")
    lines = Lines(lambda: transport.stream_of(Line, called))
    return Session(transport, lines, Stepped(next(lines.numbers), opening), timeout)
