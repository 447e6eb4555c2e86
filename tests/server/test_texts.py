"""Text requests: long ones in pieces apart from short ones, and no text twice at a time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from foretoken.errors import DeadlineExceeded, InvalidInput, Overloaded
from foretoken.models.contract import Call, Graph, Tensor
from foretoken.models.tasks import TextReply, TextRequest
from foretoken.server import texts as module
from foretoken.server.engine.batcher import Batcher
from foretoken.server.engine.drive import Times
from foretoken.server.engine.lane import Lane, Limits
from foretoken.server.terms import Caller, Scope, Terms
from foretoken.server.texts import Texts
from tests.asynchronous import awaited

LONGEST = 300  # characters that the model reads
GRAPH = Graph("forward", (Tensor("x", "int64", ("B",)),), (Tensor("y", "float32", ("B", 2)),))


class Model:
    """Embeds a text as its length and its first character; a call for each text.

    Attributes:
        computed: the texts of each run.
        running: the thread of each.
        seconds: that one takes.
        held: runs wait until it is set.
    """

    def __init__(self) -> None:
        self.computed: list[list[int]] = []
        self.asked: list[TextRequest] = []
        self.running: list[str] = []
        self.seconds = 0.0
        self.held = threading.Event()
        self.held.set()

    def predict(self, request, state=None):
        self.asked.append(request)
        if request.dimensions not in (None, 2):
            raise InvalidInput(f"dimensions are 2, not {request.dimensions}")
        read = [text[:LONGEST] for text in request.texts]
        made = yield [
            Call("forward", {"x": np.array([1000 * len(text) + ord((text or " ")[0])])})
            for text in read
        ]
        cut = np.array([max(0, len(text) - LONGEST) for text in request.texts])
        vectors = np.concatenate([each["y"] for each in made])
        return TextReply(vectors, np.array([len(text) for text in read]), cut)

    def run(self, graph, inputs):
        self.running.append(threading.current_thread().name)
        self.held.wait(10)
        time.sleep(self.seconds)
        x = inputs["x"]
        self.computed.append(x.tolist())
        return {"y": np.stack([x // 1000, x % 1000], axis=1).astype(np.float32)}


@asynccontextmanager
async def texts(model, queue=1 << 12, batch_tokens=100, slots=1):
    """What answers by a model, as ``answer(*texts, **fields)``."""
    lane = Lane("toy", 1, GRAPH, model.run, Limits(batch_tokens=batch_tokens, queue=queue))
    # Costs are known and not small, so that nothing runs in the event loop.
    lane.cost.learn(1, 0.01)
    loaded = Loaded(model, lane)
    with ThreadPoolExecutor(slots, "run") as pool, ThreadPoolExecutor(slots, "bulk") as behind:
        owner = Texts(Batcher(slots, pool), Batcher(slots, behind), slots)

        async def answer(*given, terms=None, **fields):
            request = TextRequest(tuple(given), **fields)
            (reply,) = await owner.answer(loaded, [request], terms or Terms(), Times())
            return reply

        try:
            yield SimpleNamespace(answer=answer, owner=owner, loaded=loaded)
            assert owner._under_way == {}
        finally:
            model.held.set()


class Loaded:
    def __init__(self, model, lane):
        self.predictor, self.lanes = model, {"forward": lane}
        self.bulk = {"forward": lane.beside()}
        self.version = SimpleNamespace(name="toy")


def expected(*given):
    return [[min(len(text), LONGEST), ord((text or " ")[0])] for text in given]


def ran(model):
    return sum(map(len, model.computed))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


@awaited
async def test_rows_are_in_the_order_of_the_request():
    rng = np.random.default_rng(0)
    given = [chr(97 + i % 26) * int(n) for i, n in enumerate(rng.integers(0, 400, 600))]
    model = Model()
    async with texts(model) as ours:
        reply = await ours.answer(*given)
    assert reply.vectors.tolist() == expected(*given)
    assert reply.vectors.dtype == np.float32
    assert reply.tokens.tolist() == [min(len(text), LONGEST) for text in given]
    assert reply.cut.tolist() == [max(0, len(text) - LONGEST) for text in given]
    assert ran(model) == len(set(given))
    sizes = [(len(r.texts), sum(map(len, r.texts))) for r in model.asked]
    assert len(sizes) > 4
    assert all(n <= module.TEXTS and size <= module.CHARACTERS for n, size in sizes)


@awaited
async def test_a_text_longer_than_a_piece_is_one_of_its_own():
    model = Model()
    given = ["a" * (2 * module.CHARACTERS), "b", "c" * module.CHARACTERS]
    async with texts(model) as ours:
        reply = await ours.answer(*given)
    assert reply.vectors.tolist() == expected(*given)
    assert sorted(len(r.texts) for r in model.asked) == [1, 1, 1]


@awaited
async def test_a_prompt_counts_with_each_text():
    model = Model()
    model.seconds = 0.002  # else it is not worth a thread
    given = [str(i) for i in range(20)]
    async with texts(model) as ours:
        await ours.answer(*given)
        assert {name.partition("_")[0] for name in model.running} == {"run"}
        model.asked.clear()
        model.running.clear()
        await ours.answer(*given, prompt="p" * (module.CHARACTERS // 4 - 2))
    assert [len(r.texts) for r in model.asked] == [4] * 5
    assert {name.partition("_")[0] for name in model.running} == {"bulk"}


@awaited
async def test_identical_texts_are_computed_once_at_a_time():
    model = Model()
    model.held.clear()
    async with texts(model) as ours:
        first = asyncio.create_task(ours.answer("one", "two", "one"))
        others = [asyncio.create_task(ours.answer("two")) for _ in range(20)]
        mixed = asyncio.create_task(ours.answer("three", "one", "two"))
        await until(lambda: len(model.asked) == 2)
        model.held.set()
        assert (await first).vectors.tolist() == expected("one", "two", "one")
        for other in others:
            assert (await other).vectors.tolist() == expected("two")
        assert (await mixed).vectors.tolist() == expected("three", "one", "two")
        assert ran(model) == 3
        await ours.answer("two")
        assert ran(model) == 4, "nothing is kept once it is answered"


@awaited
async def test_two_equal_long_requests_are_computed_once():
    model = Model()
    model.seconds = 0.001
    given = [str(i) * 50 for i in range(500)]
    async with texts(model) as ours:
        replies = await asyncio.gather(ours.answer(*given), ours.answer(*given))
    assert all(reply.vectors.tolist() == expected(*given) for reply in replies)
    assert ran(model) == 500


@pytest.mark.parametrize(
    "differing",
    [
        {"prompt": "query: "},
        {"dimensions": 2},
        {"terms": Terms(Caller("b", frozenset(Scope), "theirs"))},
        {"terms": Terms(priority=3)},
    ],
)
@awaited
async def test_what_is_embedded_otherwise_is_not_shared(differing):
    model = Model()
    model.held.clear()
    async with texts(model) as ours:
        both = [asyncio.create_task(ours.answer("one", **way)) for way in ({}, differing)]
        await until(lambda: len(model.asked) == 2)
        model.held.set()
        await asyncio.gather(*both)
    assert ran(model) == 2


@awaited
async def test_who_leaves_does_not_spoil_it_for_the_others():
    model = Model()
    model.held.clear()
    async with texts(model) as ours:
        leader = asyncio.create_task(ours.answer("one"))
        await until(lambda: model.asked)
        follower = asyncio.create_task(ours.answer("one", "two"))
        await until(lambda: len(model.asked) == 2)
        leader.cancel()
        await asyncio.sleep(0.01)
        late = asyncio.create_task(ours.answer("one"))
        await asyncio.sleep(0.01)
        model.held.set()
        assert (await follower).vectors.tolist() == expected("one", "two")
        assert (await late).vectors.tolist() == expected("one")
        with pytest.raises(asyncio.CancelledError):
            await leader
        await asyncio.sleep(0)


@awaited
async def test_a_leader_that_is_late_leaves_the_work_to_those_who_have_time():
    model = Model()
    model.held.clear()
    async with texts(model) as ours:
        soon = Terms(deadline=time.monotonic() + 0.1)
        leader = asyncio.create_task(ours.answer("one", terms=soon))
        await until(lambda: model.asked)
        follower = asyncio.create_task(ours.answer("one"))
        with pytest.raises(DeadlineExceeded):
            await leader
        await until(lambda: len(model.asked) == 2)
        model.held.set()
        assert (await follower).vectors.tolist() == expected("one")


@awaited
async def test_whoever_waits_keeps_to_the_own_deadline():
    model = Model()
    model.held.clear()
    async with texts(model) as ours:
        leader = asyncio.create_task(ours.answer("one"))
        await until(lambda: model.asked)
        with pytest.raises(DeadlineExceeded):
            await ours.answer("one", terms=Terms(deadline=time.monotonic() + 0.05))
        model.held.set()
        assert (await leader).vectors.tolist() == expected("one")
        assert ran(model) == 1


@awaited
async def test_short_requests_wait_for_no_long_one():
    model = Model()
    model.held.clear()
    given = [f"{i:04}" * 20 for i in range(2000)]
    async with texts(model) as ours:
        long = asyncio.create_task(ours.answer(*given))
        bulk = ours.loaded.bulk["forward"]
        await until(lambda: bulk.count)  # the one thread of long ones is busy
        short = asyncio.create_task(ours.answer("short"))
        await until(lambda: len(model.running) == 2)
        behind, ahead = model.running
        assert behind.startswith("bulk")
        assert ahead.startswith("run")
        model.held.set()
        assert (await short).vectors.tolist() == expected("short")
        assert not long.done()
        assert (await long).vectors.tolist() == expected(*given)


@awaited
async def test_long_requests_are_not_starved_by_short_ones():
    model = Model()
    model.seconds = 0.001
    given = [f"{i:04}" * 20 for i in range(500)]
    async with texts(model) as ours:
        long = asyncio.create_task(ours.answer(*given))
        asked = 0
        while not long.done():
            await asyncio.gather(*(ours.answer(f"{asked} {i}") for i in range(50)))
            asked += 50
        assert (await long).vectors.tolist() == expected(*given)
        assert asked > 100


@awaited
async def test_a_long_request_has_few_calls_waiting():
    model = Model()
    given = [f"{i:04}" * 20 for i in range(3000)]
    async with texts(model, queue=300) as ours:
        lane = ours.loaded.bulk["forward"]
        most = 0
        long = asyncio.create_task(ours.answer(*given))
        while not long.done():
            most = max(most, lane.count)
            await asyncio.sleep(0.0005)
        assert 0 < most <= 2 * module.TEXTS
        assert len((await long).vectors) == 3000


@awaited
async def test_what_has_begun_waits_for_room_and_what_has_not_is_refused():
    model = Model()
    model.held.clear()
    given = [f"{i:04}" * 20 for i in range(400)]
    async with texts(model, queue=140) as ours:
        lane = ours.loaded.bulk["forward"]
        crowd = asyncio.create_task(ours.answer(*[f"crowd {i}" for i in range(128)]))
        await until(lambda: lane.count == 28)  # behind a batch of a hundred
        with pytest.raises(Overloaded):
            await ours.answer(*given)
        model.held.set()
        await crowd
        model.seconds = 0.001
        long = asyncio.create_task(ours.answer(*given))
        await until(lambda: ran(model) > 150)  # now others come in between
        for i in range(20):
            await ours.answer(*[f"{i} {j}" for j in range(100)])
        assert (await long).vectors.tolist() == expected(*given)


@awaited
async def test_a_text_that_is_too_long_is_named_by_its_place():
    model = Model()
    given = [f"{i:03}" * 40 for i in range(400)]
    given[287] = "z" * (LONGEST + 7)
    async with texts(model) as ours:
        with pytest.raises(InvalidInput, match=r"text 287 has 307 tokens, of which toy reads 300"):
            await ours.answer(*given, truncate="error")
        assert (await ours.answer(*given)).cut.tolist().index(7) == 287
        assert (await ours.answer("a" * LONGEST, truncate="error")).cut.tolist() == [0]


@awaited
async def test_errors_of_the_model_are_those_of_the_request():
    model = Model()
    async with texts(model) as ours:
        with pytest.raises(InvalidInput, match="dimensions are 2, not 3"):
            await ours.answer(*map(str, range(1000)), dimensions=3)


@awaited
async def test_a_long_request_that_is_cancelled_leaves_nothing():
    model = Model()
    model.seconds = 0.002
    async with texts(model) as ours:
        long = asyncio.create_task(ours.answer(*[f"{i:04}" * 20 for i in range(2000)]))
        await until(lambda: len(model.computed) > 3)
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        lane = ours.loaded.bulk["forward"]
        await until(lambda: lane.count == 0)
        assert ran(model) < 1000


@awaited
async def test_requests_of_one_call_go_side_by_side():
    model = Model()
    async with texts(model, batch_tokens=1000) as ours:
        asked = [TextRequest((str(i), "same")) for i in range(5)]
        replies = await ours.owner.answer(ours.loaded, asked, Terms(), Times())
    assert [reply.vectors.tolist() for reply in replies] == [
        expected(str(i), "same") for i in range(5)
    ]
    assert ran(model) == 6
