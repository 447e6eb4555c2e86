"""The driver: lockstep, batches, state, partial replies, and what happens on errors."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from foretoken.errors import InternalError, InvalidInput, Overloaded
from foretoken.models.contract import Call, Emit, Graph, Tensor
from foretoken.models.generation import Continuation, Sampling, Together
from foretoken.models.layers.texts.reading import Unread
from foretoken.models.tasks import GenerationReply
from foretoken.server.engine.drive import ABREAST, alone

X, N = Tensor("x", "float32", ("B", "T")), Tensor("n", "int64", ("B",))
SUM, LAST = Tensor("sum", "float32", ("B",)), Tensor("last", "float32", ("B",))
OLD, NEW = Tensor("seen", "float32", ("B", "S")), Tensor("seen", "float32", ("B", "T"))
GRAPHS = {
    "add": Graph("add", (X,), (SUM,)),
    "other": Graph("other", (X,), (SUM,)),
    "replace": Graph("replace", (X,), (SUM,), (LAST,), (LAST,)),
    "grow": Graph("grow", (X,), (SUM,), (OLD,), (NEW,)),
    "write": Graph("write", (X,), (SUM,), writes=(NEW,)),
}


class Runs:
    """A runtime of sums that remembers the shapes it was called with."""

    def __init__(self) -> None:
        self.shapes: list[tuple[str, tuple[int, ...]]] = []

    def __call__(self, graph, inputs):
        x = inputs["x"]
        self.shapes.append((graph, x.shape))
        total = x.sum(axis=1)
        if graph == "replace":
            return {"sum": total + inputs["last"], "last": total}
        if graph == "grow":
            return {"sum": total + inputs["seen"].sum(axis=1), "seen": x}
        return {"sum": total, "seen": x}


def row(*values):
    return {"x": np.array([values], np.float32)}


def once(*values, graph="add", state=None):
    (made,) = yield [Call(graph, row(*values), state)]
    return float(made["sum"][0])


def test_replies_come_in_the_order_of_the_steps():
    run = Runs()
    assert alone([once(1, 2, 3), once(4), once(5, 6)], GRAPHS, run, 100) == [6, 4, 11]
    assert run.shapes == [("add", (3, 3))]


def test_the_budget_splits_a_batch():
    run = Runs()
    assert alone([once(1, 2, 3), once(4), once(5)], GRAPHS, run, 2) == [6, 4, 5]
    assert run.shapes == [("add", (1, 3)), ("add", (2, 1))]


def test_graphs_are_not_mixed():
    run = Runs()
    steps = [once(1), once(2, graph="other"), once(3)]
    assert alone(steps, GRAPHS, run, 100) == [1, 2, 3]
    assert run.shapes == [("add", (2, 1)), ("other", (1, 1))]


def several(rounds):
    totals = []
    for i in range(rounds):
        made = yield [Call("add", row(i)), Call("add", row(i, i)), Call("other", row(9))]
        totals.append([float(m["sum"][0]) for m in made])
    return totals


def test_steps_of_different_lengths_go_on_in_lockstep():
    run = Runs()
    short, none, long = alone([several(1), several(0), several(3)], GRAPHS, run, 100)
    assert short == [[0, 0, 9]]
    assert none == []
    assert long == [[0, 0, 9], [1, 2, 9], [2, 4, 9]]
    assert [shape for graph, shape in run.shapes if graph == "add"] == [(4, 2), (2, 2), (2, 2)]


def test_no_steps_have_no_replies():
    assert alone([], GRAPHS, Runs(), 100) == []


def test_a_round_without_calls_goes_on():
    def idle():
        assert (yield []) == []
        return "done"

    assert alone([idle(), once(1)], GRAPHS, Runs(), 100) == ["done", 1]


def test_states_of_fixed_size_are_replaced():
    states = [{"last": np.zeros(1, np.float32)} for _ in range(2)]
    for total in (10, 110):
        steps = [once(10, graph="replace", state=states[0]), once(1, graph="add")]
        assert alone(steps, GRAPHS, Runs(), 100)[0] in (total, 20)
    assert states[0]["last"].tolist() == [10]
    assert states[1]["last"].tolist() == [0]


def test_states_with_a_letter_grow_along_it():
    states = [{"seen": np.zeros((1, 0), np.float32)}, {"seen": np.ones((1, 2), np.float32)}]
    for values, totals in (((1, 2), [3, 5]), ((4,), [7, 9])):
        steps = [once(*values, graph="grow", state=s) for s in states]
        assert alone(steps, GRAPHS, Runs(), 100) == totals
    assert states[0]["seen"].tolist() == [[1, 2, 4]]
    assert states[1]["seen"].tolist() == [[1, 1, 1, 2, 4]]


def test_without_a_state_writes_are_among_the_outputs():
    def write():
        first, second = yield [Call("write", row(1, 2)), Call("write", row(3))]
        return first["seen"].tolist(), second["seen"].tolist()

    assert alone([write()], GRAPHS, Runs(), 100) == [([[1, 2]], [[3]])]


def test_partial_replies_come_before_the_reply_and_say_whose_they_are():
    def talk(who):
        yield Emit(f"{who} begins")
        (made,) = yield [Call("add", row(1))]
        yield Emit(float(made["sum"][0]))
        yield Emit(f"{who} ends")
        return who

    heard = []
    replies = alone([talk("a"), talk("b")], GRAPHS, Runs(), 100, lambda i, r: heard.append((i, r)))
    assert replies == ["a", "b"]
    assert heard == [
        (0, "a begins"),
        (1, "b begins"),
        (0, 1.0),
        (0, "a ends"),
        (1, 1.0),
        (1, "b ends"),
    ]


class Watched:
    """Steps that tell how they ended."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.closed = False
        self.steps = self._steps(fail_at)

    def _steps(self, fail_at):
        try:
            for i in range(3):
                if i == fail_at:
                    raise InvalidInput("a request that only the model can refuse")
                yield [Call("add", row(i))]
        finally:
            self.closed = True


@pytest.mark.parametrize("fail_at", [0, 1, 2])
def test_an_error_of_one_closes_all(fail_at):
    watched = [Watched(), Watched(fail_at), Watched()]
    with pytest.raises(InvalidInput, match="only the model can refuse"):
        alone([w.steps for w in watched], GRAPHS, Runs(), 100)
    for each in watched:
        with pytest.raises(StopIteration):
            next(each.steps)
    # The first has always begun; what never began has nothing to clean up.
    assert watched[0].closed
    assert watched[1].closed
    assert watched[2].closed == (fail_at > 0)


def test_an_error_of_the_runtime_closes_all():
    def full(graph, inputs):
        raise Overloaded("no memory left")

    watched = [Watched(), Watched()]
    with pytest.raises(Overloaded):
        alone([w.steps for w in watched], GRAPHS, full, 100)
    assert all(w.closed for w in watched)


def test_an_error_of_the_listener_closes_all():
    def talk():
        yield Emit("hello")

    def gone(index, reply):
        raise ConnectionError

    watched = Watched()
    with pytest.raises(ConnectionError):
        alone([watched.steps, talk()], GRAPHS, Runs(), 100, gone)
    assert watched.closed


def test_a_call_that_does_not_fit_its_graph_closes_all():
    def wrong():
        yield [Call("add", {"x": np.zeros((1, 2))})]

    watched = Watched()
    with pytest.raises(InvalidInput, match="must be float32"):
        alone([watched.steps, wrong()], GRAPHS, Runs(), 100)
    assert watched.closed


def test_a_call_on_a_graph_that_is_not_there_closes_all():
    watched = Watched()
    with pytest.raises(InternalError, match=r"'subtract'.*'add', 'other'"):
        alone([watched.steps, once(1, graph="subtract")], GRAPHS, Runs(), 100)
    assert watched.closed


def test_a_failed_run_leaves_states_as_they_were():
    state = {"last": np.ones(1, np.float32)}

    def fails(graph, inputs):
        raise Overloaded("no memory left")

    with pytest.raises(Overloaded):
        alone([once(1, graph="replace", state=state)], GRAPHS, fails, 100)
    assert state["last"].tolist() == [1]


def test_what_runs_together_leaves_room_for_others():
    going, most = set(), []

    async def generate(work, emit, terms):
        going.add(work)
        most.append(len(going))
        for _ in range(1 + work.most % 3):
            await asyncio.sleep(0)
        going.discard(work)
        if work.most == 0:
            raise Overloaded("no room")
        return GenerationReply((), str(work.most))

    def asked(numbers):
        sampling = Sampling().over({})
        works = [Continuation((1,), (0,), n, sampling, frozenset(), Unread()) for n in numbers]
        return (yield Together(tuple(works)))

    count = 5 * ABREAST
    (replies,) = alone([asked(range(1, count + 1))], {}, Runs(), 1, generate=generate)
    assert [reply.finish for reply in replies] == [str(i) for i in range(1, count + 1)]
    assert (len(most), max(most)) == (count, ABREAST)
    most.clear()
    with pytest.raises(Overloaded):
        alone([asked([*range(1, 100), 0, *range(1, 1000)])], {}, Runs(), 1, generate=generate)
    assert len(most) < 300, "the others are given up"
