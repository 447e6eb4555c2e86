"""Driving predictors: has what they yield run by the batcher, and sends back the outputs.

The driver holds no state of its own. State that a call names is kept in the mapping that it names:
tensors of fixed size are replaced, those with a lettered axis grow along it, and a call that names
none receives its writes among the outputs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from foretoken.errors import InternalError
from foretoken.models.contract import Array, Arrays, Call, Emit, Graph, Host, Steps, Tensor
from foretoken.models.generation import Continuation, Together
from foretoken.models.tasks import GenerationReply, ScoreReply, Token
from foretoken.server.engine import batches
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.lane import Lane, Limits, Run
from foretoken.server.terms import Terms

__all__ = ["ABREAST", "Generate", "Times", "alone", "drive"]

Emitted = Callable[[int, Any], None]
Continued = GenerationReply | ScoreReply
# Continues tokens, telling each one as it comes.
Generate = Callable[[Continuation, Callable[[Token], None], Terms], Coroutine[Any, Any, Continued]]
ABREAST = 64  # continuations of one request at a time: as many more would fill others' queue
_T = TypeVar("_T")
_BEGIN: Any = object()  # what is sent to steps that have not begun
TURN = 2e-3  # seconds of predictors' own work after which others get their turn


@dataclass
class Times:
    """Seconds that the slowest call of each round waited, and ran; summed over the rounds."""

    queue: float = 0.0
    compute: float = 0.0


async def drive(
    steps: Sequence[Steps],
    lanes: Mapping[str, Lane],
    batcher: Batcher,
    terms: Terms | None = None,
    emit: Emitted = lambda _index, _reply: None,
    times: Times | None = None,
    generate: Generate | None = None,
) -> list[Any]:
    """Run ``steps`` to their ends, all in lockstep, and return their replies, in order.

    Args:
        steps: what predictors returned; calls they yield in the same round are made together.
        lanes: of the model's graphs, by name.
        batcher: runs the calls.
        terms: of the request.
        emit: receives the index of the steps and each partial reply.
        times: receives what was spent.
        generate: continues tokens, for predictors that yield them.

    Raises:
        ForetokenError: the first that any of the steps raises, InvalidInput for a call that does
            not fit its graph, InternalError for one on a graph that the model has not, or what
            ``Batcher.run`` raises; the other steps are closed.
    """
    terms, times = terms or Terms(), times or Times()
    if len(steps) == 1:
        return [await _drive_one(steps[0], lanes, batcher, terms, emit, times, generate)]
    replies: list[Any] = [None] * len(steps)
    sent: dict[int, Any] = dict.fromkeys(range(len(steps)), _BEGIN)
    first, turn = True, time.monotonic()
    try:
        while sent:
            waiting: dict[int, Sequence[Call]] = {}
            working: dict[int, Host] = {}
            generating: dict[int, Continuation | Together] = {}
            for i, outputs in sent.items():
                try:
                    asked = _advance(steps[i], outputs, partial(emit, i))
                    if isinstance(asked, Host):
                        working[i] = asked
                    elif isinstance(asked, (Continuation, Together)):
                        generating[i] = asked
                    else:
                        waiting[i] = asked
                except StopIteration as end:
                    replies[i] = end.value
                if time.monotonic() - turn > TURN:
                    await asyncio.sleep(0)
                    turn = time.monotonic()
            calls = [call for i in waiting for call in waiting[i]]
            answers = iter(await _answer(calls, lanes, batcher, terms, times, first=first))
            sent = {i: [next(answers) for _ in asked] for i, asked in waiting.items()}
            sent |= {i: await batcher.host(asked.work) for i, asked in working.items()}
            continued = [
                _continued(c, generate, partial(emit, i), terms) for i, c in generating.items()
            ]
            sent |= dict(zip(generating, await _side_by_side(continued), strict=True))
            first, turn = first and not calls, time.monotonic()
    finally:
        for each in steps:
            each.close()
    return replies


async def _drive_one(
    steps: Steps,
    lanes: Mapping[str, Lane],
    batcher: Batcher,
    terms: Terms,
    emit: Emitted,
    times: Times,
    generate: Generate | None,
) -> Any:
    """The same for one, which most requests are, without the book-keeping of many."""
    heard, outputs, first = partial(emit, 0), _BEGIN, True
    try:
        while True:
            asked = _advance(steps, outputs, heard)
            if isinstance(asked, Host):
                outputs = await batcher.host(asked.work)
                continue
            if isinstance(asked, (Continuation, Together)):
                outputs = await _continued(asked, generate, heard, terms)
                continue
            outputs = await _answer(asked, lanes, batcher, terms, times, first=first)
            first = False
    except StopIteration as end:
        return end.value
    finally:
        steps.close()


def alone(
    steps: Sequence[Steps],
    graphs: Mapping[str, Graph],
    run: Run,
    budget: int,
    emit: Emitted = lambda _index, _reply: None,
    generate: Generate | None = None,
) -> list[Any]:
    """Drive ``steps`` with nobody else, synchronously, on a batcher of their own.

    Args:
        steps: what predictors returned; see ``drive``, also for the errors.
        graphs: the model's graphs by name.
        run: the runtime's, on one batch.
        budget: tokens in one batch, after padding.
        emit: receives the index of the steps and each partial reply.
        generate: as of ``drive``.
    """
    limits = Limits(batch_tokens=budget, request_tokens=1 << 62, queue=1 << 62)
    lanes = {name: Lane("alone", 0, graph, run, limits) for name, graph in graphs.items()}
    with ThreadPoolExecutor(1) as pool:
        return asyncio.run(drive(steps, lanes, Batcher(1, pool), emit=emit, generate=generate))


def _advance(
    steps: Steps, outputs: Any, emit: Callable[[Any], None]
) -> Sequence[Call] | Host | Continuation | Together:
    """Send ``outputs`` and go on to what is asked for next, passing partial replies on."""
    asked = next(steps) if outputs is _BEGIN else steps.send(outputs)
    while isinstance(asked, Emit):
        emit(asked.reply)
        asked = steps.send(())
    return asked


async def _answer(
    calls: Sequence[Call],
    lanes: Mapping[str, Lane],
    batcher: Batcher,
    terms: Terms,
    times: Times,
    *,
    first: bool,
) -> list[Arrays]:
    """Outputs of ``calls``, in order; graphs of one round run side by side."""
    if not calls:
        return []
    names = dict.fromkeys([call.graph for call in calls])
    for name in names:
        if name not in lanes:
            raise InternalError(f"a predictor calls graph {name!r}; its model has {list(lanes)}")
    given = [_with_reads(call) for call in calls]
    if len(calls) == 1:
        lane = lanes[calls[0].graph]
        if (short := batcher.at_once(lane, given[0])) is not None:
            times.compute += short[1]
            return [_keep(calls[0], lane.graph, short[0])]
    answers: list[Arrays] = [{}] * len(calls)
    spent: list[tuple[float, float]] = []

    async def on(name: str) -> None:
        lane = lanes[name]
        mine = [i for i, call in enumerate(calls) if call.graph == name]
        own = [given[i] for i in mine]
        made, queued, ran = await batcher.run(lane, own, terms, first=first)
        for i, part in zip(mine, made, strict=True):
            answers[i] = _keep(calls[i], lane.graph, part)
        spent.append((queued, ran))

    if len(names) == 1:
        await on(calls[0].graph)
    else:
        await _side_by_side([on(name) for name in names])
    slowest = max(spent, key=sum)
    times.queue += slowest[0]
    times.compute += slowest[1]
    return answers


async def _continued(
    asked: Continuation | Together,
    generate: Generate | None,
    emit: Callable[[Token], None],
    terms: Terms,
) -> Continued | list[Continued]:
    if generate is None:
        raise InternalError("a predictor continues tokens; its model was loaded to run graphs")
    if isinstance(asked, Continuation):
        return await generate(asked, emit, terms)
    left, replies = iter(enumerate(asked.works)), list[Any](asked.works)

    async def some() -> None:
        for i, work in left:
            replies[i] = await generate(work, _unheard, terms)

    await _side_by_side([some() for _ in asked.works[:ABREAST]])
    return replies


def _unheard(_token: Token) -> None:
    """Of continuations that run together, replies alone are told."""


async def _side_by_side(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all of ``work`` returns; when one fails, the rest is cancelled and its error raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _with_reads(call: Call) -> Arrays:
    if call.state is None:
        return call.inputs
    return {**call.inputs, **cast("Arrays", call.state)}


def _keep(call: Call, graph: Graph, made: Arrays) -> Arrays:
    """Move the writes among ``made`` into the call's state, if it has one."""
    if call.state is None or not graph.writes:
        return made
    state = cast("MutableMapping[str, Array]", call.state)
    state.update({t.name: _written(t, state[t.name], made[t.name]) for t in graph.writes})
    return {t.name: made[t.name] for t in graph.outputs}


def _written(tensor: Tensor, before: Array, new: Array) -> Array:
    axes = [a for a, dim in enumerate(tensor.dims) if isinstance(dim, str) and dim != batches.BATCH]
    return np.concatenate([before, new], axis=axes[0]) if axes else new
