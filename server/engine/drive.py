"""Driving predictors: runs what they yield, all in lockstep, and sends back the outputs.

This is the synchronous driver; it holds no state of its own. State that a call names is kept in
the mapping that it names: tensors of fixed size are replaced, those with a lettered axis grow
along it, and a call that names none receives its writes among the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from foretoken.errors import InternalError
from foretoken.models.contract import Array, Arrays, Call, Emit, Graph, Steps, Tensor
from foretoken.server.engine import batches

Run = Callable[[str, Arrays], Mapping[str, Array]]


def drive(
    steps: Sequence[Steps],
    graphs: Mapping[str, Graph],
    run: Run,
    budget: int,
    emit: Callable[[int, Any], None] = lambda _index, _reply: None,
) -> list[Any]:
    """Run ``steps`` to their ends and return their replies, in order.

    Args:
        steps: what predictors returned; calls they yield in the same round are batched.
        graphs: the model's graphs by name.
        run: the runtime's, on one batch.
        budget: tokens in one batch, after padding.
        emit: receives the index of the steps and each partial reply.

    Raises:
        ForetokenError: the first that any of the steps raises, InvalidInput for a call that does
            not fit its graph, or InternalError for one on a graph that the model has not; the
            other steps are closed.
    """
    replies: list[Any] = [None] * len(steps)
    sent: dict[int, Sequence[Arrays] | None] = dict.fromkeys(range(len(steps)))
    try:
        while sent:
            waiting: dict[int, Sequence[Call]] = {}
            for i, outputs in sent.items():
                try:
                    waiting[i] = _advance(steps[i], outputs, partial(emit, i))
                except StopIteration as end:
                    replies[i] = end.value
            calls = [call for i in waiting for call in waiting[i]]
            answers = iter(_answer(calls, graphs, run, budget))
            sent = {i: [next(answers) for _ in asked] for i, asked in waiting.items()}
    finally:
        for each in steps:
            each.close()
    return replies


def _advance(
    steps: Steps, outputs: Sequence[Arrays] | None, emit: Callable[[Any], None]
) -> Sequence[Call]:
    """Send ``outputs`` and go on to the next calls, passing partial replies on."""
    asked = next(steps) if outputs is None else steps.send(outputs)
    while isinstance(asked, Emit):
        emit(asked.reply)
        asked = steps.send(())
    return asked


def _answer(
    calls: Sequence[Call], graphs: Mapping[str, Graph], run: Run, budget: int
) -> list[Arrays]:
    """Outputs of ``calls``, in order; those on the same graph share batches."""
    answers: list[Arrays] = [{}] * len(calls)
    for name in dict.fromkeys(call.graph for call in calls):
        graph = graphs.get(name)
        if graph is None:
            raise InternalError(f"a predictor calls graph {name!r}; its model has {list(graphs)}")
        mine = [i for i, call in enumerate(calls) if call.graph == name]
        taken = (*graph.inputs, *graph.reads)
        given = [_with_reads(calls[i]) for i in mine]
        shapes = [batches.sizes(taken, arrays) for arrays in given]
        for batch in batches.plan(shapes, budget):
            own = [shapes[j] for j in batch]
            merged = batches.merge(taken, [given[j] for j in batch], own)
            made = run(name, merged)
            parts = batches.split((*graph.outputs, *graph.writes), made, own)
            for j, part in zip(batch, parts, strict=True):
                answers[mine[j]] = _keep(calls[mine[j]], graph, part)
    return answers


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
