"""Tables by both clients, against a real server: two workers, restarts, and a bad day."""

from __future__ import annotations

import asyncio
import itertools

import grpc
import numpy as np
import pytest

from foretoken import AsyncClient, Client
from foretoken.client import Fitted, tables
from foretoken.client.flow import WINDOW
from foretoken.errors import InternalError, InvalidInput, NotFound, Unavailable
from foretoken.proto import tabular as wire
from foretoken.records import ContextRecord
from foretoken.server.registry.registry import Registry
from tests.client_server import aborting
from tests.serving import serving

RNG = np.random.default_rng(1)
TRAIN = {"a": RNG.normal(size=20), "b": np.array(["u", "v", None, "u"] * 5, object)}
LABELS = RNG.integers(0, 3, 20)
TEST = {name: column[:5] for name, column in TRAIN.items()}
LOST = (("foretoken-error", "NotFound"),)


@pytest.fixture(scope="module")
def served(tmp_path_factory, published):
    """A server that has a small model of tables."""
    data_dir = tmp_path_factory.mktemp("tables") / "data"
    with Registry.open(data_dir) as registry:
        registry.register("tiny", published("tabpfn"))
    with serving(workers=2, data_dir=data_dir) as running:
        yield running


def test_a_table_from_its_fit_to_its_end(ask, served):
    size = ask(served.address, "measure", "tiny", TRAIN, LABELS)
    made = ask(served.address, "fit", "tiny", TRAIN, LABELS)
    assert isinstance(made, Fitted)
    assert (made.nbytes, made.context.model) == (size, "tiny")
    found = [ask(served.address, "predict", made, TEST) for _ in range(6)]  # by either worker
    fresh = ask(
        served.address,
        "predict",
        model="tiny",
        train=TRAIN,
        target=LABELS,
        test=TEST,
        uncertainty=True,
    )
    for each in found:
        np.testing.assert_allclose(each.probabilities, fresh.probabilities, atol=1e-5)
        assert (each.cached, each.context, each.model, each.version) == (True, made.id, "tiny", 1)
    assert fresh.uncertainty.shape == (5,)
    assert ask(served.address, "context", made.id).id == made.id
    assert made.id in {each.id for each in ask(served.address, "contexts", "tiny")}
    ask(served.address, "delete_context", made)
    with pytest.raises(NotFound):
        ask(served.address, "context", made)


def test_a_stream_is_read_as_fast_as_it_is_answered(served):
    read = []

    def chunks():
        for i in itertools.count():
            read.append(i)
            yield {name: column[i % 20 : i % 20 + 1] for name, column in TRAIN.items()}

    with Client(served.address) as client:
        context = client.fit("tiny", TRAIN, LABELS)
        stream = client.predict_stream(context, chunks())
        got = list(itertools.islice(stream, 30))
        stream.close()
        whole = client.predict(context, TRAIN)
    assert len(read) <= 30 + WINDOW
    found = np.concatenate([reply.probabilities for reply in got])
    np.testing.assert_allclose(found[:20], whole.probabilities, atol=1e-5)


def test_chunks_may_come_asynchronously(served):
    async def chunks():
        for _ in range(4):
            await asyncio.sleep(0)
            yield TEST

    async def streamed():
        async with AsyncClient(served.address) as client:
            context = await client.fit("tiny", TRAIN, LABELS)
            return [reply async for reply in client.predict_stream(context, chunks())]

    replies = asyncio.run(streamed())
    assert [reply.probabilities.shape for reply in replies] == [(5, 3)] * 4


def test_files_and_bytes_are_sent_as_they_are(ask, served, tmp_path):
    lines = [f"{a},{b or ''},{y}" for a, b, y in zip(*TRAIN.values(), LABELS, strict=True)]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(["a,b,y", *lines]), "utf-8")
    made = ask(served.address, "fit", "tiny", path, "y")
    assert made.id == ask(served.address, "fit", "tiny", TRAIN, LABELS).id
    with pytest.raises(NotFound, match="no file"):
        ask(served.address, "fit", "tiny", tmp_path / "none.csv", "y")
    with pytest.raises(InvalidInput, match="new_stream"):
        ask(served.address, "fit", "tiny", b"ARROW1\0\0", "y")


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("fit", ("m", np.zeros((2, 2)), [0, 1]), "name its columns in a dict"),
        ("fit", ("m", {"a": [1.0], "b": [1, 2]}, [0]), "one length"),
        ("fit", ("m", {1: [1.0]}, [0]), "not by 1"),
        ("fit", ("m", {"a": ["\ud800"]}, [0]), "distinct"),
        ("predict", ("ctx-1",), "give test"),
        ("predict", (), "give a context"),
        ("predict", (3, {"a": [1]}), "or its id, not 3"),
    ],
)
def test_what_is_refused_before_it_is_sent(ask, fake, method, given, said):
    with pytest.raises(InvalidInput, match=said):
        ask(fake.address, method, *given)
    assert fake.asked == []


def test_many_rows_go_in_parts(ask, fake, monkeypatch):
    monkeypatch.setattr(tables, "CELLS", 1000)
    count = 2005

    def answer(_method, _context):
        rows = 5 if len(fake.asked) == 3 else 1000
        made = wire.PredictResponse(probabilities=[1.0] * rows, notes=["as told"], cache=wire.HIT)
        made.classes.texts.values.append("x")
        return made.SerializeToString()

    fake.answer = answer
    reply = ask(fake.address, "predict", "ctx-1", {"a": np.zeros(count)})
    assert (len(fake.asked), reply.probabilities.shape) == (3, (count, 1))
    assert (reply.notes, reply.cached) == (("as told",), True)


def test_a_delete_whose_answer_was_lost(ask, fake):
    def answer(method, context):
        if len(fake.asked) == 1:
            aborting(grpc.StatusCode.UNAVAILABLE)(method, context)
        aborting(grpc.StatusCode.NOT_FOUND, "no context", *LOST)(method, context)

    fake.answer = answer
    ask(fake.address, "delete_context", "ctx-1")
    assert len(fake.asked) == 2


def test_a_delete_of_what_never_was(ask, fake):
    fake.answer = aborting(grpc.StatusCode.NOT_FOUND, "no context", *LOST)
    with pytest.raises(NotFound):
        ask(fake.address, "delete_context", "ctx-1")
    assert len(fake.asked) == 1


@pytest.mark.parametrize(("method", "given"), [("fit", ("m", TRAIN, LABELS)), ("contexts", ())])
def test_what_can_be_repeated_is_tried_again(ask, fake, method, given):
    def answer(name, context):
        if len(fake.asked) < 3:
            aborting(grpc.StatusCode.UNAVAILABLE)(name, context)
        return b""

    fake.answer = answer
    ask(fake.address, method, *given)
    assert len(fake.asked) == 3


@pytest.mark.parametrize(
    "said",
    [
        wire.PredictResponse(
            probabilities=[0.5] * 3, classes=wire.Classes(integers=wire.Integers(values=[1, 2]))
        ),
        wire.PredictResponse(probabilities=[0.5]),
    ],
)
def test_replies_that_are_malformed(ask, fake, said):
    fake.answer = lambda *_: said.SerializeToString()
    with pytest.raises(InternalError, match="malformed"):
        ask(fake.address, "predict", "ctx-1", TEST)


def test_a_context_that_cannot_be(ask, fake):
    fake.answer = lambda *_: wire.Context(id="ctx-1", created=1e300).SerializeToString()
    with pytest.raises(InternalError, match="malformed"):
        ask(fake.address, "context", "ctx-1")
    fake.answer = lambda *_: wire.Context(id="ctx-1", columns=["a"]).SerializeToString()
    assert isinstance(ask(fake.address, "context", "ctx-1"), ContextRecord)


def test_a_stream_gives_up_when_the_server_stays_away(fake):
    fake.answer = aborting(grpc.StatusCode.UNAVAILABLE)
    with Client(fake.address) as client, pytest.raises(Unavailable):
        list(client.predict_stream("ctx-1", [TEST], timeout=30))
    assert len(fake.asked) == 5
