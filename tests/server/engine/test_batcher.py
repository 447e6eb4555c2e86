"""The batcher: company, order, deadlines, refusals, cancellation and failures."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from foretoken.errors import DeadlineExceeded, InternalError, InvalidInput, Overloaded
from foretoken.models.contract import Graph, Tensor
from foretoken.server.engine import cost as cost_module
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.lane import Lane, Limits
from foretoken.server.terms import Terms
from tests.asynchronous import awaited

GRAPH = Graph("add", (Tensor("x", "float32", ("B", "T")),), (Tensor("sum", "float32", ("B",)),))


class Runtime:
    """Sums rows once it is let; remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[list[float]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = None

    def __call__(self, graph, inputs):
        assert self.gate.wait(10)
        self.calls.append(inputs["x"].tolist())
        if self.fails is not None and (inputs["x"] == self.fails).any():
            raise InternalError("this number")
        return {"sum": inputs["x"].sum(axis=1)}


class Heard:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches, self.sheds, self.depth = [], [], 0

    def batch(self, batch):
        self.batches.append(batch)

    def shed(self, model, why):
        self.sheds.append((model, why))

    def waiting(self, model, change):
        self.depth += change


class Bench:
    def __init__(self, slots=1, **limits) -> None:
        self.runtime, self.heard = Runtime(), Heard()
        self.pool = ThreadPoolExecutor(slots)
        self.batcher = Batcher(slots, self.pool, self.heard)
        self.lane = self.new_lane(**limits)

    def new_lane(self, name="sums", **limits):
        return Lane(name, 1, GRAPH, self.runtime, Limits(**limits))

    def ask(self, *values, lane=None, **terms):
        row = {"x": np.array([values], np.float32)}

        async def one():
            made, _, _ = await self.batcher.run(lane or self.lane, [row], Terms(**terms))
            return float(made[0]["sum"][0])

        return asyncio.ensure_future(one())

    async def begun(self):
        """Wait until the only slot is taken."""
        while not self.batcher.running:
            await asyncio.sleep(0.001)

    def idle(self):
        return self.batcher.waiting == 0 and self.heard.depth == 0 and not self.lane.waiting


@awaited
async def test_calls_that_arrive_together_run_together():
    bench = Bench()
    assert await asyncio.gather(*(bench.ask(i, i) for i in range(5))) == [0, 2, 4, 6, 8]
    assert [len(call) for call in bench.runtime.calls] == [5]


@awaited
async def test_what_arrives_while_all_slots_are_busy_goes_together_next():
    bench = Bench()
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    rest = [bench.ask(i) for i in (2, 3, 4)]
    await asyncio.sleep(0.01)
    assert bench.batcher.waiting == 3
    bench.runtime.gate.set()
    assert await asyncio.gather(first, *rest) == [1, 2, 3, 4]
    assert bench.runtime.calls == [[[1]], [[2], [3], [4]]]
    assert bench.idle()


@awaited
async def test_two_slots_run_two_lanes_at_once():
    bench = Bench(slots=2)
    other = bench.new_lane("others")
    bench.runtime.gate.clear()
    both = bench.ask(1), bench.ask(2, lane=other)
    while bench.batcher.running < 2:
        await asyncio.sleep(0.001)
    bench.runtime.gate.set()
    assert await asyncio.gather(*both) == [1, 2]


@awaited
async def test_higher_priority_goes_first_and_equals_in_order():
    bench = Bench(batch_tokens=1)
    bench.runtime.gate.clear()
    asked = [bench.ask(0)]
    await bench.begun()
    for value, priority in ((1, 0), (2, 5), (3, 0), (4, 5)):
        asked.append(bench.ask(value, priority=priority))
    await asyncio.sleep(0.01)
    bench.runtime.gate.set()
    await asyncio.gather(*asked)
    assert [call[0][0] for call in bench.runtime.calls] == [0, 2, 4, 1, 3]


@awaited
async def test_the_oldest_lane_goes_first():
    bench = Bench()
    other = bench.new_lane("others")
    bench.runtime.gate.clear()
    asked = [bench.ask(0)]
    await bench.begun()
    asked.append(bench.ask(1, lane=other))
    await asyncio.sleep(0.01)
    asked.append(bench.ask(2))
    await asyncio.sleep(0.01)
    bench.runtime.gate.set()
    await asyncio.gather(*asked)
    assert [call[0][0] for call in bench.runtime.calls] == [0, 1, 2]


@awaited
async def test_a_wait_gathers_company_and_ends_when_the_batch_is_full():
    bench = Bench(wait=0.2, batch_tokens=3)
    began = time.monotonic()
    lone = await bench.ask(1)
    assert time.monotonic() - began >= 0.2
    bench.lane.limits = Limits(wait=60, batch_tokens=3)
    full = await asyncio.wait_for(asyncio.gather(*(bench.ask(i) for i in range(3))), 20)
    assert [lone, *full] == [1, 0, 1, 2]
    assert [len(call) for call in bench.runtime.calls] == [1, 3]


@awaited
async def test_a_wait_is_no_longer_than_the_deadline_allows():
    bench = Bench(wait=60.0)
    assert await bench.ask(1, deadline=time.monotonic() + 1.5) == 1


@awaited
async def test_a_call_whose_deadline_passes_while_it_waits_never_runs():
    bench = Bench()
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    late, other = bench.ask(2, deadline=time.monotonic() + 0.05), bench.ask(3)
    await asyncio.sleep(0.1)
    bench.runtime.gate.set()
    with pytest.raises(DeadlineExceeded):
        await late
    assert [await first, await other] == [1, 3]
    assert bench.runtime.calls == [[[1]], [[3]]]
    assert bench.idle()


@awaited
async def test_a_deadline_is_told_when_it_passes_and_not_when_a_core_is_free():
    bench = Bench()
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    late = bench.ask(2, deadline=time.monotonic() + 0.05)
    running = bench.ask(3)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(late, 20)
    assert bench.batcher.waiting == 1
    bench.runtime.gate.set()
    assert [await first, await running] == [1, 3]
    assert bench.idle()


@awaited
async def test_a_cancelled_call_leaves_the_queue_at_once_and_never_runs():
    bench = Bench()
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    gone, other = bench.ask(2), bench.ask(3)
    await asyncio.sleep(0.01)
    gone.cancel()
    await asyncio.sleep(0.01)
    assert bench.batcher.waiting == 1
    bench.runtime.gate.set()
    assert [await first, await other] == [1, 3]
    assert bench.runtime.calls == [[[1]], [[3]]]
    assert bench.idle()


@awaited
async def test_a_call_cancelled_while_it_runs_disturbs_nobody():
    bench = Bench()
    bench.runtime.gate.clear()
    both = bench.ask(1), bench.ask(2)
    await bench.begun()
    both[0].cancel()
    bench.runtime.gate.set()
    assert await both[1] == 2
    assert both[0].cancelled()
    assert bench.idle()


@awaited
async def test_a_full_queue_refuses_and_says_when_to_come_back():
    bench = Bench(queue=2)
    for _ in range(20):
        bench.lane.cost.learn(1, 0.5)
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    waiting = [bench.ask(2), bench.ask(3)]
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="2 calls wait for sums") as refused:
        await bench.ask(4)
    assert refused.value.retry_after == pytest.approx(1.5, rel=0.2)
    assert bench.heard.sheds == [("sums", "queue")]
    bench.runtime.gate.set()
    assert await asyncio.gather(first, *waiting) == [1, 2, 3]


@awaited
async def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    bench = Bench()
    for _ in range(20):
        bench.lane.cost.learn(1, 0.5)
    bench.runtime.gate.clear()
    first = bench.ask(1)
    await bench.begun()
    with pytest.raises(Overloaded, match="deadline cannot be met"):
        await bench.ask(2, deadline=time.monotonic() + 0.4)
    enough = bench.ask(3, deadline=time.monotonic() + 5)
    await asyncio.sleep(0.01)
    assert bench.batcher.waiting == 1
    bench.runtime.gate.set()
    assert [await first, await enough] == [1, 3]
    assert bench.heard.sheds == [("sums", "deadline")]


@awaited
async def test_a_call_that_takes_longer_than_its_deadline_is_refused_while_that_is_known(
    monkeypatch,
):
    bench = Bench()
    bench.lane.cost.learn(1, 0.5)
    with pytest.raises(Overloaded, match=r"which takes 0\.5 s"):
        await bench.ask(1, deadline=time.monotonic() + 0.4)
    monkeypatch.setattr(cost_module, "FRESH", 0.0)  # by now it may take less
    assert await bench.ask(1, deadline=time.monotonic() + 0.4) == 1


@awaited
async def test_calls_that_fail_together_are_tried_alone():
    bench = Bench()
    bench.runtime.fails = 2
    good, bad, fine = bench.ask(1), bench.ask(2), bench.ask(3)
    with pytest.raises(InternalError, match="this number"):
        await bad
    assert [await good, await fine] == [1, 3]
    assert [len(call) for call in bench.runtime.calls] == [3, 1, 1, 1]


@awaited
async def test_calls_of_one_request_fail_together_and_leave_nothing_waiting():
    bench = Bench(batch_tokens=1)
    bench.runtime.fails = 1
    rows = [{"x": np.array([[v]], np.float32)} for v in (1, 2, 3, 4)]
    with pytest.raises(InternalError):
        await bench.batcher.run(bench.lane, rows, Terms())
    assert bench.idle()


@awaited
async def test_a_short_call_with_nobody_waiting_runs_at_once_on_this_thread():
    bench = Bench()
    await bench.ask(1)
    for _ in range(200):
        bench.lane.cost.learn(1, 1e-5)
    threads = []
    bench.lane.run = lambda graph, inputs: (
        threads.append(threading.current_thread()) or {"sum": inputs["x"].sum(axis=1)}
    )
    made, seconds = bench.batcher.at_once(bench.lane, {"x": np.array([[2.0]], np.float32)})
    assert made["sum"] == [2]
    assert 0 < seconds < 1
    assert threads == [threading.main_thread()]
    assert bench.heard.batches[-1].queued == (0.0,)


@awaited
async def test_no_call_overtakes_those_that_wait_and_no_long_one_runs_at_once():
    bench = Bench()
    row = {"x": np.array([[2.0]], np.float32)}
    assert bench.batcher.at_once(bench.lane, row) is None  # nothing is known of its cost
    bench.lane.cost.learn(1, 0.01)
    assert bench.batcher.at_once(bench.lane, row) is None
    for _ in range(300):
        bench.lane.cost.learn(1, 1e-5)
    bench.runtime.gate.clear()
    bench.lane.limits = Limits(wait=0.01)
    waiting = bench.ask(1)
    await asyncio.sleep(0)
    assert bench.batcher.at_once(bench.lane, row) is None
    bench.runtime.gate.set()
    assert await waiting == 1


@awaited
async def test_arrays_that_do_not_fit_are_refused():
    bench = Bench(request_tokens=10)
    with pytest.raises(InvalidInput, match="must be float32"):
        await bench.batcher.run(bench.lane, [{"x": np.zeros((1, 2))}], Terms())
    with pytest.raises(InvalidInput, match="11 tokens; the server takes at most 10"):
        await bench.ask(*range(11))
    assert bench.idle()


@awaited
async def test_a_batch_is_told_with_its_padding():
    bench = Bench()
    await asyncio.gather(bench.ask(1, 2, 3), bench.ask(4))
    (batch,) = bench.heard.batches
    assert (batch.rows, batch.tokens, batch.padded, batch.graph) == (2, 4, 6, "add")
    assert len(batch.queued) == 2
    assert all(0 <= queued < 1 for queued in batch.queued)
    assert 0 < batch.seconds < math.inf


@awaited
async def test_many_callers_coming_and_going_all_get_their_own_answers():
    bench = Bench(slots=2, batch_tokens=40)
    rng = np.random.default_rng(0)

    async def caller(i):
        for j in range(20):
            values = [float(i), *([float(j)] * int(rng.integers(0, 6)))]
            asked = bench.ask(*values, priority=int(rng.integers(0, 3)))
            if rng.random() < 0.2:
                await asyncio.sleep(float(rng.random()) * 1e-3)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            else:
                assert await asked == sum(values)

    await asyncio.gather(*(caller(i) for i in range(40)))
    assert bench.idle()
    assert bench.batcher.running == 0
    assert max(batch.rows for batch in bench.heard.batches) > 1
    assert all(b.padded <= 40 or b.rows == 1 for b in bench.heard.batches)
