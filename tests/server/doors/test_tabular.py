"""The door of tables, over a real plane and a real channel."""

from __future__ import annotations

import asyncio
import io
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from foretoken import AsyncClient
from foretoken.client.predictions import prediction_of
from foretoken.client.tables import table_message
from foretoken.client.tabular import training_message
from foretoken.errors import Cancelled, InvalidInput, NotFound, Overloaded, Unavailable, Unsupported
from foretoken.proto import tabular as wire
from foretoken.server.doors.tabular import tabular
from foretoken.server.registry.registry import Registry
from foretoken.server.terms import Terms
from tests.asynchronous import awaited
from tests.server.doors.answering import answering
from tests.server.doors.talk import Talk

N = 24
RNG = np.random.default_rng(5)
TRAIN = {
    "size": RNG.normal(size=N),
    "count": RNG.integers(0, 5, N),
    "kind": RNG.choice(["plain", "blue", None], N).tolist(),
    "new": RNG.random(N) > 0.5,
}
LABELS = np.where(TRAIN["size"] > 0, "big", "small").tolist()
TEST = {name: column[:6] for name, column in TRAIN.items()}


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with Registry.open(tmp_path_factory.mktemp("tabular") / "data") as registry:
        registry.register("tiny", published("tabpfn"))
        registry.register("curves", published("lcpfn"))
        yield registry


door = partial(answering, tabular)


def arrow(columns):
    out = io.BytesIO()
    table = pa.table(columns)
    with ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


def rows(count, at=0):
    return {name: column[at : at + count] for name, column in TRAIN.items()}


@awaited
async def test_a_context_answers_as_the_labelled_rows_do(registry):
    async with door(registry) as ours:
        fresh = await ours.client.predict(
            model="tiny", train=TRAIN, target=LABELS, test=TEST, uncertainty=True
        )
        size = await ours.client.measure("tiny", TRAIN, LABELS)
        first = await ours.client.fit("tiny", TRAIN, LABELS)
        again = await ours.client.fit("tiny", dict(reversed(TRAIN.items())), np.array(LABELS))
        kept = await ours.client.predict(first, TEST, uncertainty=True)
        inline = await ours.client.predict(model="tiny", train=TRAIN, target=LABELS, test=TEST)
        assert (fresh.cached, first.cached, again.cached, kept.cached) == (False, False, True, True)
        assert inline.cached is True
        assert (inline.context, kept.context) == (None, first.id)
        assert again.id == first.id
        assert (first.nbytes, first.context.rows) == (size, N)
        assert first.context.classes == ("big", "small")
        np.testing.assert_allclose(kept.probabilities, fresh.probabilities, atol=1e-5)
        np.testing.assert_allclose(kept.uncertainty, fresh.uncertainty, atol=1e-5)
        np.testing.assert_allclose(kept.probabilities.sum(axis=1), 1)
        assert inline.uncertainty is None
        assert set(kept.labels) <= {"big", "small"}
        await ours.client.delete_context(first)
        with pytest.raises(NotFound):
            await ours.client.predict(first, TEST)


@awaited
async def test_the_forms_of_a_table_are_one_context(registry):
    async with door(registry) as ours:
        columns = {name: pa.array(column) for name, column in TRAIN.items()}
        by_columns = await ours.client.fit("tiny", TRAIN, LABELS, categorical=["count"])
        by_arrow = await ours.client.fit(
            "tiny", arrow({**columns, "y": LABELS}), "y", categorical=["count"]
        )
        assert by_arrow.cached
        assert by_arrow.id == by_columns.id
        other = await ours.client.fit("tiny", TRAIN, LABELS)
        assert other.id != by_columns.id
        text = "size,count,kind,new\n0.25,3,,true\n"
        said = await ours.client.predict(by_columns, text.encode())
        same = {"size": [0.25], "count": [3], "kind": np.array([None], object), "new": [True]}
        expected = await ours.client.predict(by_columns, same)
        np.testing.assert_array_equal(said.probabilities, expected.probabilities)


@awaited
async def test_csv_is_read_as_the_labelled_rows_were(registry):
    """Text that looks like numbers in one chunk is the text that was learned from."""
    codes = ["1", "x", "01", "true"] * 6
    train = {"size": TRAIN["size"], "code": codes}
    chunks = [b"code,size\n1,0.5\n01,0.5\n", b"code,size\ntrue,0.5\n,-1\n", b"size,code\n1,x\n"]
    plain = [["1", "01"], ["true", None], ["x"]]
    sizes = [[0.5, 0.5], [0.5, -1.0], [1.0]]
    columns = [{"size": s, "code": p} for s, p in zip(sizes, plain, strict=True)]
    async with door(registry) as ours:
        fitted = await ours.client.fit("tiny", train, LABELS)
        expected = [(await ours.client.predict(fitted, c)).probabilities for c in columns]
        assert not np.allclose(*expected[0]), "a code says something"
        said = [await ours.client.predict(fitted, chunk) for chunk in chunks]
        said += [
            await ours.client.predict(model="tiny", train=train, target=LABELS, test=chunk)
            for chunk in chunks
        ]
        said += [each async for each in ours.client.predict_stream(fitted, chunks)]
        lines = [
            "size,code,y",
            *map(",".join, zip(map(str, TRAIN["size"]), codes, LABELS, strict=True)),
        ]
        same = await ours.client.fit("tiny", "\n".join(lines).encode(), "y")
        assert same.id == fitted.id
        for reply, wanted in zip(said, expected * 3, strict=True):
            np.testing.assert_allclose(reply.probabilities, wanted, atol=1e-5)
            assert reply.notes == ()
        with pytest.raises(NotFound, match="ctx-00"):
            await ours.client.predict("ctx-" + 64 * "0", chunks[0])
    async with door(registry) as another:
        kept = await another.client.predict(fitted.id, chunks[0])
        np.testing.assert_allclose(kept.probabilities, expected[0], atol=1e-5)


@awaited
async def test_large_integers_are_categories_as_text_alone(registry):
    ids = np.arange(N) % 3 + 2**53
    async with door(registry) as ours:
        for table in (
            {"id": ids},
            {"id": [*ids[:-1].tolist(), None]},
            arrow({"id": pa.array(ids)}),
            ("id\n" + "\n".join(map(str, ids))).encode(),
        ):
            with pytest.raises(InvalidInput, match=r"'id' is categorical and holds .* as text"):
                await ours.client.fit("tiny", table, LABELS, categorical=["id"])
        fitted = await ours.client.fit("tiny", {"id": ids.astype(str)}, LABELS)
        said = await ours.client.predict(fitted, {"id": ids[:3].astype(str)})
        assert said.notes == ()
        assert len({tuple(row) for row in said.probabilities.tolist()}) == 3
        labelled = await ours.client.fit("tiny", TEST, ids[:6])
        assert labelled.context.classes == tuple(map(str, ids[:3])), "labels are exact"


@pytest.mark.parametrize(
    ("labels", "kind"),
    [([3, 1, 1, 3] * 6, "i"), ([True, False, False, True] * 6, "b"), (["1", "3"] * 12, "U")],
)
def test_classes_keep_their_kind(registry, labels, kind):
    async def classes():
        async with door(registry) as ours:
            reply = await ours.client.predict(model="tiny", train=TRAIN, target=labels, test=TEST)
            return reply.classes

    found = asyncio.run(classes())
    assert found.dtype.kind == kind
    assert found.tolist() == sorted(set(labels))


@awaited
async def test_contexts_are_listed_in_pages_and_described(registry):
    async with door(registry) as ours:
        made = {(await ours.client.fit("tiny", rows(n), LABELS[:n])).id for n in (12, 13, 14)}
        contexts, call = ours.methods["Contexts"].handler, SimpleNamespace(terms=Terms())
        found, after = [], ""
        while True:
            page = await contexts(wire.ContextsRequest(model="tiny", after=after, limit=1), call)
            assert len(page.contexts) == 1
            found += page.contexts
            after = page.next
            if not after:
                break
        assert [each.id for each in found] == sorted({each.id for each in found})
        assert made <= {each.id for each in found}
        every = await ours.client.contexts()
        assert [each.id for each in every] == [each.id for each in found]
        assert await ours.client.contexts("curves") == []
        mine = min(made)
        one = await ours.client.context(mine)
        assert (one.id, one.model, one.version) == (mine, "tiny", 1)
        assert set(one.columns) == set(TRAIN)
        with pytest.raises(InvalidInput, match="limit"):
            await contexts(wire.ContextsRequest(limit=-1), call)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"columns": {}}, "no columns"),
        ({"columns": {"a": np.array([])}, "target": np.array([], int)}, "no rows"),
        ({"target": ["same"] * N}, "class"),
        ({"columns": {**TRAIN, "size": [float("inf"), *[0.0] * (N - 1)]}}, "'size'.*finite"),
        ({"columns": {**TRAIN, "when": np.array(["2020"] * N, "M8[D]")}}, "'when'.*dates"),
        ({"columns": {**TRAIN, "size": [1.0]}}, "one length"),
        ({"target": LABELS[:3]}, "one label for each"),
        ({"target": [*LABELS[:-1], None]}, f"missing in row {N - 1}"),
        ({"target": np.arange(N) + 0.5}, "real numbers"),
        ({"target": list(range(N))}, "more than 10 classes"),
        ({"categorical": ["colour"]}, "colour"),
        ({"options": {"colour": 3}}, "colour"),
        ({"model": "curves"}, "curve"),
    ],
)
def test_bad_tables_are_refused_with_a_cure(registry, given, said):
    asked = {"model": "tiny", "columns": TRAIN, "target": LABELS, **given}
    where = [asked.pop(name) for name in ("model", "columns", "target")]

    async def refused():
        async with door(registry) as ours:
            with pytest.raises((InvalidInput, Unsupported), match=said):
                await ours.client.fit(*where, **asked)

    asyncio.run(refused())


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({name: TEST[name] for name in ("size", "kind", "new")}, "missing.*count"),
        ({**TEST, "colour": TEST["kind"]}, "colour"),
        ({**TEST, "size": ["a"] * 6}, "'size'.*text"),
        ({**TEST, "size": [np.inf] * 6}, "size"),
        ({name: column[:0] for name, column in TEST.items()}, "no rows"),
        ({}, "no columns"),
        (arrow({"size": [[1.0]]}), "make a column of each"),
        (b"size,kind\n1\n", "as many fields"),
    ],
)
def test_bad_rows_are_refused_with_the_columns_named(registry, test, said):
    async def refused():
        async with door(registry) as ours:
            context = await ours.client.fit("tiny", TRAIN, LABELS)
            with pytest.raises(InvalidInput, match=said):
                await ours.client.predict(context, test)
            with pytest.raises(InvalidInput, match=said):
                async for _ in ours.client.predict_stream(context, [test]):
                    pass

    asyncio.run(refused())


@awaited
async def test_what_is_new_at_predict_time_is_accepted_and_told(registry):
    async with door(registry) as ours:
        columns = {**TRAIN, "void": np.full(N, np.nan)}
        context = await ours.client.fit("tiny", columns, LABELS)
        test = {**TEST, "kind": ["unseen"] * 6, "void": np.ones(6)}
        reply = await ours.client.predict(context, test)
        assert reply.probabilities.shape == (6, 2)
        assert any("'kind'" in note for note in reply.notes)


@awaited
async def test_shapes_beyond_the_limits_are_refused(registry):
    async with door(registry, table_cells=N * 4, table_columns=4) as ours:
        await ours.client.fit("tiny", TRAIN, LABELS)
        with pytest.raises(InvalidInput, match="table_columns"):
            await ours.client.fit("tiny", {**TRAIN, "more": TRAIN["size"]}, LABELS)
        twice = {name: [*column, *column] for name, column in TRAIN.items()}
        with pytest.raises(InvalidInput, match="table_cells"):
            await ours.client.fit("tiny", twice, LABELS * 2)


@awaited
async def test_bad_tables_are_not_measured(registry):
    async with door(registry) as ours:
        with pytest.raises(InvalidInput, match="one label for each"):
            await ours.client.measure("tiny", TRAIN, LABELS[:3])
        with pytest.raises(InvalidInput, match="no rows"):
            await ours.client.measure("tiny", {"a": np.array([])}, LABELS)
        with pytest.raises(NotFound):
            await ours.client.measure("nobody", TRAIN, LABELS)


@awaited
async def test_unknown_things(registry):
    async with door(registry) as ours:
        with pytest.raises(NotFound):
            await ours.client.fit("nobody", TRAIN, LABELS)
        for id_ in ("ctx-" + "0" * 64, "1"):
            with pytest.raises(NotFound):
                await ours.client.context(id_)
            with pytest.raises(NotFound):
                await ours.client.delete_context(id_)
            with pytest.raises(NotFound):
                await ours.client.predict(id_, TEST)


# -- streams --------------------------------------------------------------------------------------


def opening(**given):
    return wire.PredictStreamRequest(open=wire.PredictOpen(**given))


def chunk(columns):
    return wire.PredictStreamRequest(test=table_message(columns))


@awaited
async def test_each_chunk_is_answered_in_order(registry):
    async with door(registry) as ours:
        context = await ours.client.fit("tiny", TRAIN, LABELS)
        chunks = [rows(1 + i % 3, i) for i in range(15)]
        got = [r async for r in ours.client.predict_stream(context, chunks, uncertainty=True)]
        assert len(got) == 15
        for part, reply in zip(chunks, got, strict=True):
            alone = await ours.client.predict(context, part)
            np.testing.assert_allclose(reply.probabilities, alone.probabilities, atol=1e-5)
            assert reply.uncertainty.shape == (len(part["size"]),)
            assert (reply.cached, reply.context) == (True, context.id)


@awaited
async def test_labelled_rows_may_open_a_stream(registry):
    async with door(registry) as ours:
        labels = LABELS[::-1]
        stream = ours.client.predict_stream(
            None, [TEST, TEST], model="tiny", train=TRAIN, target=labels
        )
        first, second = [reply async for reply in stream]
        assert (first.cached, second.cached) == (False, True)
        expected = await ours.client.predict(first.context, TEST)
        np.testing.assert_allclose(second.probabilities, expected.probabilities, atol=1e-5)


@awaited
async def test_a_caller_who_does_not_read_is_not_read(registry):
    async with door(registry) as ours:
        context = await ours.client.fit("tiny", TRAIN, LABELS)
        talk = Talk(opening(context_id=context.id), *[chunk(rows(1)) for _ in range(40)])
        talk.gate.clear()
        task = asyncio.create_task(ours.methods["PredictStream"].handler(talk, talk))
        await asyncio.sleep(0.5)
        held = talk.read_
        assert held <= 6
        talk.gate.set()
        await task
        assert (len(talk.written), talk.kept) == (40, 0)
        assert talk.most <= 6
        for message in talk.written:
            assert prediction_of(message, uncertainty=False).probabilities.shape == (1, 2)


@pytest.mark.parametrize(
    ("messages", "error", "written"),
    [
        ([wire.PredictStreamRequest()], InvalidInput, 0),
        ([chunk(TEST)], InvalidInput, 0),
        ([opening()], InvalidInput, 0),
        ([opening(context_id="ctx-1"), chunk(TEST)], NotFound, 0),
        (["open", "open"], InvalidInput, 0),
        (["open", chunk(TEST), chunk({"size": [1.0]})], InvalidInput, None),
        (["open", chunk(TEST), Cancelled("gone")], Cancelled, None),
        (["open", chunk(TEST), Overloaded("full")], Overloaded, 1),
        (["open", chunk(TEST), wire.PredictStreamRequest()], InvalidInput, 1),
    ],
)
def test_streams_that_end_badly_leave_nothing(registry, messages, error, written):
    async def ended():
        async with door(registry) as ours:
            context = await ours.client.fit("tiny", TRAIN, LABELS)
            opened = opening(context_id=context.id)
            talk = Talk(*[opened if message == "open" else message for message in messages])
            with pytest.raises(error):
                await ours.methods["PredictStream"].handler(talk, talk)
            assert talk.kept == 0 or error is Cancelled  # a call that has ended keeps nothing
            if written is not None:
                assert len(talk.written) == written

    asyncio.run(ended())


@awaited
async def test_a_stream_that_a_server_ends_is_opened_again(registry, monkeypatch):
    """Chunks that were not answered are sent again, by the same context."""
    async with door(registry) as ours:
        context = await ours.client.fit("tiny", TRAIN, LABELS)
        real, calls = ours.plane.predict, []

        async def predict(*given):
            calls.append(1)
            if len(calls) in (3, 4):
                raise Unavailable("stops")
            return await real(*given)

        monkeypatch.setattr(ours.plane, "predict", predict)
        chunks = [rows(1, i) for i in range(8)]
        got = [reply async for reply in ours.client.predict_stream(context, chunks)]
        monkeypatch.undo()
        for part, reply in zip(chunks, got, strict=True):
            alone = await ours.client.predict(context, part)
            np.testing.assert_allclose(reply.probabilities, alone.probabilities, atol=1e-5)


def test_labelled_rows_and_a_context_do_not_go_together():
    with pytest.raises(InvalidInput, match="or all of model"):
        AsyncClient("localhost:1").predict_stream(None, [], model="tiny")
    with pytest.raises(InvalidInput, match="its own"):
        AsyncClient("localhost:1").predict_stream("ctx-1", [], options={"members": 1})
    with pytest.raises(InvalidInput, match=r"give \['a'\]"):
        training_message({"a": [1]}, [1], "a", None)
