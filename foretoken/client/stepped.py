"""A session on its way: what is sent, what comes back, and how a broken stream is mended.

A durable session loses nothing: inputs are kept until the server says that what they have led to is
safe. When the stream breaks, another one goes on from the last safe state: inputs whose outputs
have arrived are told again without being answered, the others as they were. The server writes no
state whose outputs have not arrived, so none is lost and none comes twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foretoken.client.failures import refusal
from foretoken.client.kept import Floats, Input, Inputs
from foretoken.client.operations import Pause, Receive, Send, Steps
from foretoken.client.outputs import Output, Want, joined, observed, output_of, want_of
from foretoken.client.snapshots import Snapshot, snapshot_of
from foretoken.errors import (
    Cancelled,
    FailedPrecondition,
    ForetokenError,
    InternalError,
    NotFound,
    Overloaded,
    Unavailable,
)
from foretoken.proto import sequences as wire

__all__ = ["PART", "Opened", "Stepped"]

T = TypeVar("T")

DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0)  # seconds; 31 in all
PART = 1 << 12  # observations of one message at most
_PASSING = (Unavailable, Overloaded, Cancelled)


@dataclass(frozen=True)
class Opened:
    """What a session is.

    Args:
        id: of it.
        model: registered name.
        version: of it, which the session stays with.
        width: numbers of an observation, D.
        state_nbytes: bytes of its state, at every step.
        options: of the model's family, all of them.
    """

    id: str
    model: str
    version: int
    width: int
    state_nbytes: int
    options: Mapping[str, float | str]


@dataclass(frozen=True)
class _Reply:
    """What came of an input: outputs, each [T, ...], or why there are none."""

    step: int
    outputs: Mapping[str, NDArray[Any]]
    refused: tuple[ForetokenError, list[Input]] | None = None


@dataclass(frozen=True)
class _Group:
    """Inputs that are told as one, each once the one before it is answered."""

    parts: int
    single: bool


class Stepped:
    """A session; a transport performs its steps, one operation after the other.

    Args:
        number: of the session on its streams.
        opening: how it begins.

    Attributes:
        opened: what it is, once it is open.
        durable_step: observations that are safe.
        resumes: times that it went on after its stream had broken.
        replayed: observations that were told again then, answered ones and others.
    """

    def __init__(self, number: int, opening: wire.SequenceOpen) -> None:
        self.number = number
        self.durable_step = 0
        self.resumes = self.replayed = 0
        self._opened: Opened | None = None
        self._opening = opening
        self._inputs = Inputs(keep=opening.durable)
        self._groups: deque[_Group] = deque()
        self._arrived: deque[_Reply] = deque()  # that nobody has taken yet
        self._broken, self._fresh = True, False  # whether it has no stream; must have another one
        self._moved = False  # whether the server has said that it goes on elsewhere
        self._doubt = False  # whether an operation was cut short
        self._ended = False
        self._lost: Unavailable | None = None

    @property
    def opened(self) -> Opened:
        """What it is.

        Raises:
            FailedPrecondition: if it is not open yet.
        """
        if self._opened is None:
            raise FailedPrecondition("the session is not open yet; it opens with its `with` block")
        return self._opened

    @property
    def step(self) -> int:
        """Observations whose outputs have arrived."""
        return self._inputs.step

    @property
    def untaken(self) -> int:
        """Calls of ``put`` that no ``take`` has answered."""
        return len(self._groups)

    # -- operations -------------------------------------------------------------------------------

    def begin(self) -> Steps[None]:
        """Open it."""
        yield from self._surely(_nothing)

    def put(self, given: ArrayLike, want: Want) -> Steps[None]:
        """Tell observations; ``take`` tells what is answered.

        Of many there is one part on its way at a time, so that a refused one has nothing behind it.
        """
        self._expect_usable()
        asked = want_of(want)
        values, single = observed(given, self.opened.width)
        values = values.copy()  # told later, or again, when it may be the caller's no more
        parts = np.split(values, range(PART, len(values), PART))
        inputs = [
            Input(each, wire.NOTHING if asked == wire.LAST and i < len(parts) else asked, i > 1)
            for i, each in enumerate(parts, 1)
        ]
        self._doubt = True
        self._groups.append(_Group(len(parts), single or asked == wire.LAST))
        self._inputs.pending.extend(inputs)
        if not self._broken:
            yield from self._tell()
        self._doubt = False

    def take(self) -> Steps[Output]:
        """What is answered to the first ``put`` that is not answered yet."""
        self._expect_usable()
        self._doubt = True
        group = self._groups[0]
        replies: list[_Reply] = []
        while len(replies) < group.parts and not (replies and replies[-1].refused):
            replies.append((yield from self._reply()))
        self._groups.popleft()
        self._doubt = False
        for reply in replies:
            if reply.refused is not None:
                raise reply.refused[0]
        made = joined([reply.outputs for reply in replies], single=group.single)
        return Output(replies[-1].step, self.durable_step, made)

    def push(self, given: ArrayLike, want: Want) -> Steps[Output]:
        """Tell observations, and return what is answered."""
        if self._groups and not self._doubt:
            raise FailedPrecondition("outputs of follow() are still to come; read them first")
        yield from self.put(given, want)
        return (yield from self.take())

    def forget(self) -> Steps[None]:
        """Take what is still to come, and forget it; of what is not told yet, none begins."""
        self._withdraw()
        while self._groups and not (self._doubt or self._ended or self._lost):
            with suppress(ForetokenError):
                yield from self.take()

    def snapshot(self, *, include_bytes: bool, keep: bool) -> Steps[Snapshot]:
        """Take a snapshot after all that was told."""
        asked = wire.TakeSnapshot(include_bytes=include_bytes, bytes_only=not keep)
        response = yield from self._control(wire.SequenceRequest(snapshot=asked), "snapshot")
        return snapshot_of(response.snapshot, with_bytes=include_bytes or not keep)

    def fork(self, number: int) -> Steps[Stepped]:
        """Another session, on the same stream, after all that was told."""
        asked = wire.SequenceRequest(fork=wire.Fork(into=number))
        response = yield from self._control(asked, "forked")
        other = Stepped(number, self._opening)
        other._begin_at(response.forked)
        other._broken, other._fresh = False, True
        return other

    def close(self, *, mend: bool = True) -> Steps[None]:
        """End it, when nothing of it is kept; ``mend``: a broken stream first, if need be."""
        if self._ended:
            return
        self._ended = True
        if self._broken and not mend:
            return
        if self._doubt and self._opening.durable:
            self._broken = True
        if self._doubt and not self._broken:
            yield Send(self._closing(), fresh=False)  # what it answers to is not known any more
        elif self._opened is not None and (not self._broken or self._may_go_on()):
            with suppress(NotFound):  # an earlier try has ended it
                yield from self._surely(self._closed)

    # -- what an operation consists of ------------------------------------------------------------

    def _expect_usable(self) -> None:
        if self._ended:
            raise FailedPrecondition("the session was closed")
        if self._lost is not None:
            raise self._lost
        if not self._doubt:
            return
        if not self._opening.durable:
            raise FailedPrecondition(
                "an earlier operation was cut short, and what came of it is not known: begin a new "
                "session, from a snapshot if there is one; durable=True goes on by itself"
            )
        # The server's last safe state has seen nothing that is not answered.
        self._doubt = False
        self._broken = True
        for kept in (self._inputs, self._groups, self._arrived):
            kept.clear()

    def _surely(self, work: Callable[[], Steps[T]]) -> Steps[T]:
        """What ``work()`` returns, on a stream that may have to be mended first."""
        for delay in (*DELAYS, None):
            try:
                if self._broken:
                    yield from self._open()
                return (yield from work())
            except _PASSING as e:
                self._broken = True
                if not self._may_go_on():
                    self._lost = Unavailable(
                        f"the stream has broken at step {self.step}: {e}. The session was not "
                        "durable and is lost: open sessions with durable=True, or resume from a "
                        "snapshot"
                    )
                    raise self._lost from e
                if delay is None:
                    raise
                yield Pause(max(delay, e.retry_after if isinstance(e, Overloaded) else 0.0))
        raise AssertionError("the last attempt raises")

    def _may_go_on(self) -> bool:
        return self._opening.durable or self._moved or self._opened is None

    def _open(self) -> Steps[None]:
        """Open it on a stream, again if need be, and tell again what the server has not kept."""
        known = self._opened
        opening = self._opening if known is None else wire.SequenceOpen(id=known.id)
        # Whatever breaks off from here on leaves a stream that has ended, or has the session open.
        fresh, self._fresh = self._fresh, True
        yield Send(wire.SequenceRequest(session=self.number, open=opening), fresh)
        response = yield Receive()
        if response.HasField("refusal"):
            self._fresh = False
            raise _error(response.refusal)
        if known is None:
            self._begin_at(response.opened)
        elif self._ended:
            self._inputs.clear()
        else:
            self.durable_step = response.opened.durable_step
            self.resumes += 1
            for values in self._inputs.since(response.opened.step):
                self.replayed += len(values)
                yield self._observe(values, wire.NOTHING)
                replayed = yield from self._hear()
                if replayed.HasField("refusal"):
                    raise _error(replayed.refusal)
            told, self._inputs.told = self._inputs.told, 0
            self.replayed += sum(map(len, islice(self._inputs.pending, told)))
        self._broken = self._moved = False

    def _begin_at(self, said: wire.Opened) -> None:
        options = {
            name: each.text if each.WhichOneof("value") == "text" else each.number
            for name, each in said.options.items()
        }
        self._opened = Opened(
            said.id, said.model, said.version, said.width, said.state_nbytes, options
        )
        self._inputs.begin(said.step)
        self.durable_step = said.durable_step

    def _tell(self) -> Steps[None]:
        """Tell what is pending, up to the first part that has to wait for another one's answer."""
        while (found := self._inputs.tell()) is not None:
            yield self._observe(found.values, found.want)

    def _tell_all(self) -> Steps[None]:
        """Tell all that is pending."""
        yield from self._tell()
        while self._inputs.told < len(self._inputs.pending):
            self._arrived.append((yield from self._next()))

    def _withdraw(self) -> None:
        for _ in range(self._inputs.withdraw()):
            self._groups.pop()

    def _observe(self, values: Floats, want: wire.Want) -> Send:
        said = wire.Observe(
            values=values.astype("<f8", copy=False).tobytes(),
            steps=len(values),
            want=want,
            delivered=self.step,
        )
        return Send(wire.SequenceRequest(session=self.number, observe=said), fresh=False)

    def _hear(self) -> Steps[Any]:
        """The next response.

        Raises:
            Unavailable: if the session has left its worker.
        """
        response = yield Receive()
        if response.HasField("refusal") and response.refusal.resume:
            self._moved = True
            raise Unavailable(response.refusal.message)
        return response

    def _next(self) -> Steps[_Reply]:
        """What comes of the first input that is not answered."""
        yield from self._tell()
        response = yield from self._hear()
        if response.HasField("refusal"):
            return _Reply(self.step, {}, (_error(response.refusal), self._inputs.refuse()))
        if not response.HasField("outputs"):
            raise InternalError("the response is malformed: outputs are missing", id="")
        said = response.outputs
        self._inputs.answer(said.durable_step)
        self.durable_step = max(self.durable_step, said.durable_step)
        return _Reply(self.step, output_of(said.outputs))

    def _reply(self) -> Steps[_Reply]:
        """The same; one that was refused for now, with none told behind it, is told again."""
        for delay in (*DELAYS, None):
            if self._arrived:
                reply = self._arrived.popleft()
            else:
                reply = yield from self._surely(self._next)
            if reply.refused is None or delay is None:
                return reply
            error, refused = reply.refused
            if not isinstance(error, _PASSING) or self._inputs.told or self._arrived:
                return reply
            yield Pause(max(delay, error.retry_after if isinstance(error, Overloaded) else 0.0))
            self._inputs.put_back(refused)
        raise AssertionError("the last attempt returns")

    def _control(self, asked: wire.SequenceRequest, answer: str) -> Steps[Any]:
        """The response to what is no observation, behind those to all observations."""
        self._expect_usable()
        self._doubt = True
        asked.session = self.number

        def work() -> Steps[Any]:
            yield from self._tell_all()
            yield Send(asked, fresh=False)
            while self._inputs.pending:
                self._arrived.append((yield from self._next()))
            return (yield from self._hear())

        response = yield from self._surely(work)
        self._doubt = False
        if response.HasField("refusal"):
            raise _error(response.refusal)
        if not response.HasField(answer):
            raise InternalError(f"the response is malformed: {answer} is missing", id="")
        return response

    def _closed(self) -> Steps[None]:
        self._withdraw()
        yield from self._tell_all()
        yield Send(self._closing(), fresh=False)
        while self._inputs.pending:
            yield from self._next()
        response = yield from self._hear()
        if response.HasField("refusal"):
            raise _error(response.refusal)

    def _closing(self) -> wire.SequenceRequest:
        return wire.SequenceRequest(session=self.number, close=wire.CloseSequence())


def _nothing() -> Steps[None]:
    return
    yield


def _error(said: wire.Refusal) -> ForetokenError:
    return refusal(said.error, said.message, said.retry_after)
