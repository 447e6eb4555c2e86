"""Stepping: all sessions of a version that have input pending go together, a batch at a time.

A message of one observation is a row of a "step", one of several goes through "scan" in chunks, so
that a long one does not hold up the others; kinds of batches take turns. Deterministic sessions are
only ever stepped, in batches of one fixed shape: what else is in the batch changes no bit of a row,
and neither does how observations are cut into messages.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from foretoken.errors import (
    DataLoss,
    DeadlineExceeded,
    ForetokenError,
    InternalError,
    InvalidInput,
)
from foretoken.models.contract import Array, Arrays, Call, Graph, Steps, Tensor
from foretoken.models.tasks import SequenceReply, SequenceRequest
from foretoken.server.engine import batches
from foretoken.server.engine.batcher import INLINE, Batcher
from foretoken.server.engine.batches import BATCH, Extent
from foretoken.server.engine.lane import Lane
from foretoken.server.engine.observer import Batch, Observer, Served
from foretoken.server.engine.slots import SPARE, Slots
from foretoken.server.registry.loaded import Loaded
from foretoken.server.sessions.session import Session
from foretoken.server.sessions.work import Visit, Work

__all__ = ["CHUNK", "FIXED", "ROWS", "Stepper", "expect_fitting"]

_log = logging.getLogger("foretoken.sessions")
CHUNK = 64  # observations of a session in one batch at most
ROWS = 256  # of a batch of steps at most: with more, a layer's outputs leave the caches
FIXED = 16  # rows of a batch of deterministic sessions, with whatever they are filled up
CANDIDATES = 512  # waiting sessions that are looked at for one batch of scans
LETTER = "T"

Kind = Literal["step", "scan", "fixed"]


@dataclass(slots=True)
class _Turn:
    """A session's part in a batch."""

    session: Session
    work: Work
    steps: Steps
    inputs: Arrays
    count: int  # observations


class Stepper:
    """Steps the sessions of one loaded version; it belongs to one event loop.

    Args:
        loaded: the version.
        slots: where the states of its sessions are.
        batcher: lends threads.
        observer: hears of every batch and message.
        absent: is told of a session that has work but no slot; ``wake`` is called once it has one.
        stepped: is told when a message of a session has been applied.
        spoilt: is told of a session whose state is not what it was, for which there is none to go
            back to.
    """

    def __init__(
        self,
        loaded: Loaded,
        slots: Slots,
        batcher: Batcher,
        observer: Observer,
        absent: Callable[[Session], None],
        stepped: Callable[[Session], None],
        spoilt: Callable[[Session, ForetokenError], None],
    ) -> None:
        self.loaded = loaded
        self.slots = slots
        self.waiting = 0  # observations of all messages that are not answered
        self._batcher = batcher
        self._observer = observer
        self._absent = absent
        self._stepped = stepped
        self._spoilt = spoilt
        self._ready: dict[Kind, deque[Session]] = {
            "step": deque(),
            "scan": deque(),
            "fixed": deque(),
        }
        self._order: deque[Kind] = deque(("step", "scan", "fixed"))
        self._queued: set[Session] = set()  # that are in one of those queues
        self._busy: set[Session] = set()  # that are in the batch that runs
        self._scheduled = False
        self._running = False

    def busy(self, session: Session) -> bool:
        """Whether its state is in use, or about to be."""
        return session in self._busy or bool(session.waiting)

    def add(self, session: Session, item: Work | Visit) -> None:
        """Let a message or a visit wait behind what the session has to do already."""
        session.waiting.append(item)
        if isinstance(item, Work):
            self.waiting += len(item.values)
        if len(session.waiting) == 1:
            self.wake(session)

    def wake(self, session: Session) -> None:
        """Go on with what waits in a session, if anything does."""
        if not session.waiting or session in self._busy or session in self._queued:
            return
        if session.slot < 0:
            self._absent(session)
            return
        self._queued.add(session)
        self._ready[_kind(session, session.waiting[0])].append(session)
        self._schedule()

    def end(self, session: Session, error: BaseException) -> None:
        """Fail all that waits in a session, and free its slot once nothing of it runs."""
        session.ended = True
        while session.waiting:
            self._leave(session).fail(error)
        if session not in self._busy:
            self._free(session)

    def _free(self, session: Session) -> None:
        if session.slot >= 0:
            self.slots.free(session.slot)
            session.slot = -1

    def expect(self, count: int) -> float:
        """Seconds until so many observations more would be answered, as far as costs are known."""
        rows = self._rows()
        return self._lane("step").cost.sure(rows) * (self.waiting + count) / rows

    # -- batches ----------------------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled and not self._running:
            # Not at once: whoever has input in this turn of the loop comes along.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        for _ in range(len(self._order)):
            kind = self._order[0]
            self._order.rotate(-1)
            while self._ready[kind] and not self._running:
                turns = self._begin(kind, self._picked(kind))
                if turns:
                    self._start(kind, turns)
                    break  # the other kinds are next
            if self._running:
                return
        if any(self._ready.values()):
            self._schedule()

    def _picked(self, kind: Kind) -> list[Session]:
        """Those of the next batch, taken out of their queue."""
        ready = self._ready[kind]
        if kind == "scan":
            picked = self._alike(ready)
        else:
            most = FIXED if kind == "fixed" else self._rows()
            picked = [ready.popleft() for _ in range(min(most, len(ready)))]
        self._queued.difference_update(picked)
        return picked

    def _alike(self, ready: deque[Session]) -> list[Session]:
        """The first session, and those whose chunks are of much the same length."""
        head = ready.popleft()
        others = [ready.popleft() for _ in range(min(CANDIDATES, len(ready)))]
        extents = [Extent(1, (_chunk(each),)) for each in (head, *others)]
        budget = self._lane("scan").limits.batch_tokens
        chosen = set(batches.company(extents[0], extents[1:], budget))
        ready.extendleft(reversed([s for i, s in enumerate(others) if i not in chosen]))
        return [head, *(others[i] for i in sorted(chosen))]

    def _begin(self, kind: Kind, picked: Sequence[Session]) -> list[_Turn]:
        """Their parts in a batch; visits are paid on the way, and what is not acceptable fails.

        What comes behind those may belong to batches of another kind, and is queued for them.
        """
        turns, now = [], time.monotonic()
        for session in picked:
            while session.waiting:
                head = session.waiting[0]
                if isinstance(head, Visit):
                    self._leave(session)
                    head.pay()
                    if session.slot < 0:
                        break
                    continue
                if _kind(session, head) != kind:
                    break
                turn = self._turn(session, head, now)
                if turn is not None:
                    turns.append(turn)
                    self._busy.add(session)
                    break
            if session not in self._busy:
                self.wake(session)
        return turns

    def _turn(self, session: Session, work: Work, now: float) -> _Turn | None:
        deterministic = session.options.deterministic
        count = 1 if deterministic else min(work.left, CHUNK)
        try:
            if work.done.done():
                raise DeadlineExceeded("nobody waits for this message any more")
            if work.deadline <= now:
                raise DeadlineExceeded("the deadline passed before the message was answered")
            values = work.values[work.at : work.at + count]
            request = SequenceRequest(values, session.options.family)
            steps = self.loaded.predictor.predict(request, session)
            (call,) = cast("Sequence[Call]", next(steps))
            expect_fitting(self._lane(call.graph).graph, call)
        except Exception as e:
            self._undo(session, work, e)
            return None
        if work.at == 0:
            work.queued = now - work.arrived
            if work.left > count:
                work.before = self.slots.read(session.slot)
        return _Turn(session, work, steps, call.inputs, count)

    def _start(self, kind: Kind, turns: list[_Turn]) -> None:
        lane = self._lane("scan" if kind == "scan" else "step")
        slots = [turn.session.slot for turn in turns]
        try:
            inputs = _merged(lane.graph.inputs, turns)
        except Exception as e:  # whatever it is, those who wait must hear of it
            self._failed(turns, e)
            return
        if kind == "fixed" and len(turns) < FIXED:
            missing = FIXED - len(turns)
            slots += [SPARE] * missing
            inputs = {
                n: np.concatenate([a, np.repeat(a[:1], missing, 0)]) for n, a in inputs.items()
            }
        tokens = len(slots) * max(turn.count for turn in turns)

        def work() -> tuple[Mapping[str, Array], float]:
            began = time.perf_counter()
            made = self.slots.run(lane.graph, inputs, slots)
            return made, time.perf_counter() - began

        if 0 < lane.cost.expect(tokens) < INLINE:
            try:
                outcome = work()
            except Exception as e:  # whatever it is, those who wait must hear of it
                self._failed(turns, e)
            else:
                self._finish(lane, turns, tokens, *outcome)
            return
        self._running = True
        running = asyncio.ensure_future(self._batcher.host(work))
        running.add_done_callback(lambda done: self._ended(lane, turns, tokens, done))

    def _ended(
        self, lane: Lane, turns: list[_Turn], tokens: int, done: asyncio.Future[Any]
    ) -> None:
        self._running = False
        if done.cancelled():
            self._failed(turns, InternalError("the threads that compute are gone"))
        elif (error := done.exception()) is not None:
            self._failed(turns, error)
        else:
            self._finish(lane, turns, tokens, *done.result())
        if any(self._ready.values()):
            self._schedule()

    # -- outcomes ---------------------------------------------------------------------------------

    def _finish(
        self,
        lane: Lane,
        turns: list[_Turn],
        tokens: int,
        made: Mapping[str, Array],
        seconds: float,
    ) -> None:
        lane.cost.learn(tokens, seconds)
        real = sum([turn.count for turn in turns])
        queued = [turn.work.queued for turn in turns]
        self._observer.batch(
            Batch(
                lane.model, lane.version, lane.graph.name, len(turns), real, tokens, queued, seconds
            )
        )
        outputs = lane.graph.outputs
        for row, turn in enumerate(turns):
            own = {
                tensor.name: _row(made[tensor.name], row, tensor, turn.count) for tensor in outputs
            }
            self._busy.discard(turn.session)
            self._advance(turn, own, seconds)

    def _advance(self, turn: _Turn, own: Arrays, seconds: float) -> None:
        session, work = turn.session, turn.work
        if session.ended:
            self._free(session)
            return
        try:
            turn.steps.send([own])
        except StopIteration as end:
            reply: SequenceReply = end.value
        except Exception as e:
            if work.before is None:
                self._spoil(session, e)
            else:
                self._undo(session, work, e)
                self.wake(session)
            return
        else:
            raise InternalError("a recurrent predictor yields one call for a request")
        work.compute += seconds
        work.add(reply, turn.count)
        if not work.left:
            self._leave(session)
            session.step += work.at
            session.used = now = time.monotonic()
            self._stepped(session)
            if not work.done.done():
                work.done.set_result(work.reply())
            self._serve(work, now, "")
        self.wake(session)

    def _failed(self, turns: list[_Turn], error: BaseException) -> None:
        """A batch did not run: nothing of it has been applied, or nobody knows what."""
        for turn in turns:
            self._busy.discard(turn.session)
            if turn.session.ended:
                self._free(turn.session)
            elif isinstance(error, DataLoss) and turn.work.before is None:
                self._spoil(turn.session, error)
            else:
                self._undo(turn.session, turn.work, error)
                self.wake(turn.session)

    def _spoil(self, session: Session, error: BaseException) -> None:
        """End a session whose state is neither that before the message nor that after it."""
        _log.error("session %s has lost its state: %s", session.id, error)
        self._spoilt(
            session,
            DataLoss(
                "a failure of the server has spoilt the session's state; go on from a snapshot, or "
                "with its id if it is durable"
            ),
        )

    def _undo(self, session: Session, work: Work, error: BaseException) -> None:
        """Fail a message, and leave its session as it was before."""
        if work.before is not None:
            self.slots.write(session.slot, work.before)
        self._leave(session)
        work.fail(error)
        name = type(error).__name__ if isinstance(error, ForetokenError) else "InternalError"
        self._serve(work, time.monotonic(), name)

    def _leave(self, session: Session) -> Work | Visit:
        item = session.waiting.popleft()
        if isinstance(item, Work):
            self.waiting -= len(item.values)
        return item

    def _serve(self, work: Work, now: float, error: str) -> None:
        version = self.loaded.version
        self._observer.served(
            Served(
                version.name, version.number, work.queued, work.compute, now - work.arrived, error
            )
        )

    def _rows(self) -> int:
        return min(ROWS, self._lane("step").limits.batch_tokens)

    def _lane(self, graph: str) -> Lane:
        return self.loaded.lanes[graph]


def expect_fitting(graph: Graph, call: Call) -> None:
    """Refuse inputs of another shape than the graph's; what is merged must be alike.

    Raises:
        InvalidInput: naming the shape of an observation.
    """
    for tensor in graph.inputs:
        shape = call.inputs[tensor.name].shape
        dims = tensor.dims
        if len(shape) != len(dims) or any(
            shape[i] != dim for i, dim in enumerate(dims) if isinstance(dim, int)
        ):
            raise InvalidInput(
                f"observations must be {list(dims[1:])} of {tensor.dtype} each, "
                f"not {list(shape[1:])}"
            )


def _kind(session: Session, head: Work | Visit) -> Kind:
    """Of the batches that ``head`` may be in; visits may be paid in any."""
    if isinstance(head, Visit):
        return "step"
    if session.options.deterministic:
        return "fixed"
    return "step" if head.left == 1 else "scan"


def _chunk(session: Session) -> int:
    """Observations of its next batch; sessions that have ended in the queue are as those of one."""
    head = session.waiting[0] if session.waiting else None
    return min(head.left, CHUNK) if isinstance(head, Work) else 1


def _merged(tensors: Sequence[Tensor], turns: Sequence[_Turn]) -> Arrays:
    if len(turns) == 1:
        return turns[0].inputs
    given = [turn.inputs for turn in turns]
    if all(LETTER not in tensor.dims for tensor in tensors):
        return {t.name: np.concatenate([each[t.name] for each in given]) for t in tensors}
    return batches.merge(tensors, given, [{BATCH: 1, LETTER: turn.count} for turn in turns])


def _row(made: Array, row: int, tensor: Tensor, count: int) -> Array:
    """A session's part of an output, without the padding."""
    if LETTER in tensor.dims:
        return made[row : row + 1, :count]
    return made[row : row + 1]
