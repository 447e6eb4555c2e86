"""Contexts through the plane: fitted once, answered from, rebuilt, deleted, one tenant's own."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace

import numpy as np
import pytest

from foretoken.errors import (
    DataLoss,
    InvalidInput,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unsupported,
)
from foretoken.models.tasks import TabularRequest
from foretoken.server.contexts import identity, states
from foretoken.server.contexts.identity import context_id
from foretoken.server.registry import contexts
from foretoken.server.terms import Caller, Scope, Terms
from tests.server.contexts.tables import blobs_of, damage, inline, rows, same, table, with_context

ANN = Terms(Caller("ann", frozenset({Scope.PREDICT}), tenant="a"))
BOB = Terms(Caller("bob", frozenset({Scope.PREDICT}), tenant="b"))


def ask(plane, context, test=None, model="", terms=ANN):
    request = with_context(context, rows() if test is None else test)
    return plane.run(plane.plane.predict(model, [request], terms))


def fit(plane, request=None, model="toy", terms=ANN):
    return plane.run(plane.plane.fit(model, request or table(), terms))


def test_a_fitted_table_answers_as_the_table_itself(plane):
    plain = plane.answer("toy", [inline(table(), rows())])
    assert plain.hits == (False,), "what comes inline is not kept"
    fitted = plane.fit("toy", table())
    assert not fitted.cached
    cached = plane.answer("", [with_context(fitted.context.id, rows())])
    again = plane.answer("toy", [inline(table(), rows())])
    assert cached.hits == again.hits == (True,)
    same(cached, plain)
    same(again, plain)


def test_what_is_told_of_a_context_is_so(plane):
    request = replace(table(n=9), target=np.array([10, 2, 3] * 3))
    said = plane.measure("toy", request)
    record = plane.fit("toy", request).context
    assert (record.model, record.version, record.rows, record.members) == ("toy", 1, 9, 2)
    assert record.columns == ("x0", "x1", "x2")
    assert record.classes == ("2", "3", "10"), "as numbers are sorted"
    assert said == record.nbytes <= record.kept_nbytes
    assert (record.expires - record.used).total_seconds() == 7 * 86400
    assert plane.context(record.id) == record
    assert plane.contexts() == plane.contexts("toy") == [record]
    assert plane.contexts("other") == []


@pytest.mark.parametrize(("precision", "width"), [("float32", 4), ("bfloat16", 2)])
def test_the_bytes_that_are_announced_are_kept(planes, registry, published, precision, width):
    artefact = replace(published("tabpfn"), precision=precision)
    registry.register("tables", artefact)
    plane, request = planes(runtime="torch"), replace(table(n=9), options={"members": 6})
    said = plane.measure("tables", request)
    context = plane.fit("tables", request).context
    version = plane.run(plane.plane.describe("tables")).predictor.version
    kept = registry.contexts.state(registry.contexts.find(context.id, None), version)
    numbers = 6 * 9 * 2 * artefact.config["layers"] * artefact.config["width"]
    assert said == context.nbytes == states.nbytes(kept) == numbers * width + 6 * 8
    assert {a.dtype.itemsize for s in kept.states for n, a in s.items() if n != "n"} == {width}
    same(
        planes(runtime="torch").answer("", [with_context(context.id, rows())]),
        plane.answer("tables", [inline(request, rows())]),
    )


def test_what_a_fit_chose_is_told_each_time(planes, registry, published):
    registry.register("tables", published("tabpfn"))
    plane, other = planes(), planes()
    request = replace(table(), train={**table().train, "same": np.zeros(12)})
    fitted = [plane.fit("tables", request)]
    registry.contexts.forget_state(registry.contexts.find(fitted[0].context.id, None))
    fitted += [plane.fit("tables", request), other.fit("tables", request)]
    assert [each.cached for each in fitted] == [False, True, True]
    assert {each.notes for each in fitted} == {("column 'same' is constant and is not used",)}
    assert plane.fit("tables", table()).notes == ()
    test = {**rows(), "same": np.zeros(4)}
    (reply,) = other.answer("", [with_context(fitted[0].context.id, test)]).replies
    assert reply.notes == fitted[0].notes
    stored = registry.contexts.find(fitted[0].context.id, None)
    assert stored.notes == fitted[0].notes
    registry.register("tables", replace(published("tabpfn"), training={"seed": 1}))
    registry.set_alias("tables", "champion", 2)
    registry.delete("tables:1", force=True)
    with registry._database.read() as connection:
        buried = contexts.get(connection, fitted[0].context.id)
    assert buried.notes == (), "they name columns"


def test_the_same_table_is_one_context(plane, registry):
    first = plane.fit("toy", table())
    shuffled = dict(reversed(table().train.items()))
    second = plane.fit("toy:1", replace(table(), train=shuffled))
    assert (first.cached, second.cached) == (False, True)
    assert first.context == second.context
    assert len(plane.contexts()) == 1
    assert len(blobs_of(registry)) == 2


def test_a_default_that_is_spelled_out_changes_no_context(plane, registry, published):
    registry.register("tables", published("tabpfn"))
    plain = plane.fit("tables", table())
    full = plane.run(plane.plane.describe("tables")).predictor.options({})
    members = float(full["members"])
    for spelled in ({"seed": 0}, {"members": members}, {"limit": "refuse", "seed": 0.0}, full):
        request = replace(table(), options=spelled)
        assert plane.fit("tables", request).context.id == plain.context.id, spelled
        assert plane.answer("tables", [inline(request, rows())]).hits == (True,), spelled
    other = plane.fit("tables", replace(table(), options={"seed": 1}))
    assert (other.cached, len(plane.contexts())) == (False, 2)
    with pytest.raises(InvalidInput, match="unknown options"):
        plane.fit("tables", replace(table(), options={"sed": 0}))


def test_concurrent_fits_are_computed_once(plane):
    ran = []
    encode = plane.run(plane.plane.describe("toy")).lanes["encode_context"]
    drive = encode.run

    def counted(graph, inputs):
        ran.append(graph)
        return drive(graph, inputs)

    encode.run = counted

    async def together():
        return await asyncio.gather(*(plane.plane.fit("toy", table(5)) for _ in range(6)))

    fitted = plane.run(together())
    assert len({f.context.id for f in fitted}) == 1
    assert len(ran) <= 2, "a call for each of the two members, or one for both"


def test_a_cancelled_fit_does_not_fail_those_who_wait_for_it(plane):
    async def together():
        leader, follower = (
            asyncio.ensure_future(plane.plane.fit("toy", table(6))) for _ in range(2)
        )
        await asyncio.sleep(0.001)
        leader.cancel()
        return await follower

    assert plane.run(together()).context in plane.contexts()


def test_columns_may_stand_in_any_order(plane):
    plain = plane.answer("toy", [inline(table(), rows())])
    context = plane.fit("toy", table()).context.id
    test = dict(reversed(rows().items()))
    same(plane.answer("", [with_context(context, test)]), plain)
    train = dict(reversed(table(1).train.items()))
    turned = inline(replace(table(1), train=train), test)
    same(plane.answer("toy", [turned]), plane.answer("toy", [inline(table(1), rows())]))


def test_other_columns_are_refused_by_name(plane):
    context = plane.fit("toy", table()).context.id
    test = {"x0": np.zeros(2), "x1": np.zeros(2), "y": np.zeros(2)}
    with pytest.raises(InvalidInput, match=r"missing are \['x2'\], unknown are \['y'\]"):
        plane.answer("", [with_context(context, test)])


def test_several_contexts_and_tables_of_one_version_are_one_call(plane):
    contexts = [plane.fit("toy", table(i, n=5 + 3 * i)).context.id for i in range(3)]
    requests = [with_context(c, rows(i)) for i, c in enumerate(contexts)]
    answers = plane.answer("", [*requests, inline(table(7), rows())])
    assert answers.hits == (True, True, True, False)
    for i in range(3):
        alone = plane.answer("toy", [inline(table(i, n=5 + 3 * i), rows(i))])
        np.testing.assert_allclose(
            answers.replies[i].probabilities, alone.replies[0].probabilities, atol=1e-5
        )


# -- tenants --------------------------------------------------------------------------------------


def test_tenants_share_neither_ids_nor_files_nor_answers(plane, registry):
    mine, theirs = fit(plane), fit(plane, terms=BOB)
    assert not theirs.cached
    assert mine.context.id != theirs.context.id
    assert len(blobs_of(registry)) == 4
    assert [r.id for r in plane.run(plane.plane.contexts(ANN))] == [mine.context.id]


def test_anothers_id_is_not_found_in_the_words_for_an_unknown_one(plane):
    unknown, mine = "ctx-" + 64 * "0", fit(plane).context.id
    ask(plane, mine)

    def said(do):
        with pytest.raises(NotFound) as refused:
            do()
        return str(refused.value).replace(mine, unknown)

    does = [
        lambda context, terms=terms, method=method: plane.run(method(context, terms))
        for terms in (BOB, Terms())
        for method in (plane.plane.context, plane.plane.delete_context)
    ]
    does += [lambda context: ask(plane, context, terms=BOB)]
    assert len({said(lambda do=do, c=c: do(c)) for do in does for c in (mine, unknown)}) == 1
    assert ask(plane, mine).hits == (True,), "nothing was deleted"


def test_to_fit_needs_the_scope(plane):
    idle = Terms(Caller("idle", frozenset({Scope.ADMIN})))
    for call in (
        lambda: plane.plane.fit("toy", table(), idle),
        lambda: plane.plane.contexts(idle),
        lambda: plane.plane.delete_context("ctx-", idle),
        lambda: plane.plane.predict("", [with_context("ctx-", rows())], idle),
    ):
        with pytest.raises(PermissionDenied, match="predict"):
            plane.run(call())


# -- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_fitted_is_refused(plane):
    for request, said in (
        (TabularRequest(test=rows()), "needs columns to learn from"),
        (replace(table(), target=None), "needs columns to learn from and their target"),
        (inline(table(), rows()), "no rows to predict for"),
        (with_context("ctx-1", {}), "stands for a fitted table already"),
    ):
        with pytest.raises(InvalidInput, match=said):
            plane.fit("toy", request)
    assert plane.contexts() == []


def test_a_model_that_keeps_no_contexts_says_so(plane, registry, tiny_lcpfn):
    from foretoken.models.artefact import Artefact

    registry.register("curves", Artefact.read(tiny_lcpfn))
    with pytest.raises(InvalidInput, match="answers curve requests"):
        plane.fit("curves", table())


def test_tables_and_states_that_are_too_large_are_refused_before_they_are_computed(planes):
    cells = planes(table_cells=30)
    with pytest.raises(InvalidInput, match=r"12 rows by 3 columns has 36 values.*takes 30"):
        cells.fit("toy", table())
    with pytest.raises(InvalidInput, match="table_columns"):
        planes(table_columns=2).measure("toy", table())
    with pytest.raises(Unsupported, match=r"would take \d+ bytes.*keeps 100 \(context_bytes\)"):
        planes(context_bytes=100).fit("toy", table())


def test_a_quota_is_a_tenants_own(planes):
    plane = planes(context_quota=6000)
    first = fit(plane).context
    with pytest.raises(Overloaded, match=r"context_quota.*delete some"):
        fit(plane, table(1))
    assert fit(plane).cached, "what is kept may be fitted again"
    assert not fit(plane, table(1), terms=BOB).cached
    plane.run(plane.plane.delete_context(first.id, ANN))
    assert not fit(plane, table(1)).cached


# -- what is gone or damaged ----------------------------------------------------------------------


def test_a_deleted_context_is_not_found_and_leaves_no_byte(planes, registry):
    plane, other = planes(), planes()
    context = fit(plane).context.id
    assert ask(other, context).hits == (True,), "the other has it mapped now"
    plane.run(plane.plane.delete_context(context, ANN))
    for each in (plane, other):
        with pytest.raises(NotFound, match=context):
            ask(each, context)
    assert blobs_of(registry) == []
    other.run(other.plane.follow())
    assert other.plane.contexts_open == 0
    assert fit(plane).context.id == context
    assert ask(other, context).hits == (True,)


@pytest.mark.parametrize("how", ["damaged", "absent"])
def test_a_state_that_is_gone_is_computed_anew(planes, registry, how):
    before = planes()
    context = fit(before).context
    plain = ask(before, context.id)
    stored = registry.contexts.find(context.id, "a")
    damage(registry, stored.kept_digest, how)
    plane = planes()
    first, second = ask(plane, context.id), ask(plane, context.id)
    assert (first.hits, second.hits) == ((False,), (True,))
    same(first, plain)
    same(second, plain)
    assert len(blobs_of(registry)) == 2, "it is kept again"


@pytest.mark.parametrize("how", ["damaged", "absent"])
def test_a_training_set_that_is_gone_is_data_loss_and_a_new_fit_heals_it(planes, registry, how):
    context = fit(planes()).context.id
    stored = registry.contexts.find(context, "a")
    damage(registry, stored.table_digest, how)
    plane = planes()
    plain = ask(plane, context)
    assert plain.hits == (True,), "the state is enough to answer"
    damage(registry, stored.kept_digest, "absent")
    other = planes()
    for _ in range(2):
        with pytest.raises(DataLoss, match=rf"training set of context {context}.*fit again"):
            ask(other, context)
    assert registry.contexts.find(context, "a").problem
    assert not fit(other).cached
    same(ask(other, context), plain)
    assert not registry.contexts.find(context, "a").problem


def test_inline_tables_use_what_is_kept_and_compute_nothing_for_later(planes, registry):
    plane = planes()
    context = plane.fit("toy", table()).context.id
    stored = registry.contexts.find(context, None)
    damage(registry, stored.kept_digest, "absent")
    other = planes()
    assert other.answer("toy", [inline(table(), rows())]).hits == (False,)
    assert len(blobs_of(registry)) == 1
    assert other.answer("", [with_context(context, rows())]).hits == (False,)
    assert other.answer("toy", [inline(table(), rows())]).hits == (True,)


@pytest.mark.parametrize(("characters", "aside"), [(4, False), (4000, True)])
def test_long_text_does_not_hold_the_event_loop_up(plane, monkeypatch, characters, aside):
    async def here() -> int:
        return threading.get_ident()

    def noted(*given):
        threads.append(threading.get_ident())
        return context_id(*given)

    threads: list[int] = []
    monkeypatch.setattr(identity, "context_id", noted)
    text = np.array(["x" * characters] * 12, object)
    request = replace(table(), train={"text": text}, test={"text": text[:1]})
    with pytest.raises(ValueError, match="could not convert"):  # the toy reads numbers alone
        plane.answer("toy", [request])
    assert [thread != plane.run(here()) for thread in threads] == [aside]


def test_a_state_that_other_logic_made_is_computed_anew(planes, registry, monkeypatch):
    before = planes()
    context = before.fit("toy", table()).context.id
    digest = registry.contexts.find(context, None).kept_digest
    after = planes()
    predictor = after.run(after.plane.describe("toy")).predictor
    monkeypatch.setattr(type(predictor), "version", predictor.version + 1)
    answers = after.answer("", [with_context(context, rows())])
    assert answers.hits == (False,)
    assert registry.contexts.find(context, None).kept_digest != digest
    assert after.answer("", [with_context(context, rows())]).hits == (True,)
    same(answers, after.answer("toy", [inline(table(), rows())]))
    assert not after.fit("toy", table()).cached


@pytest.mark.parametrize("id_", ["mine", "ctx-12", "ctx-" + 64 * "G", "x" * 5000])
def test_what_is_no_id_is_told_what_one_is(plane, id_):
    said = "is not the id of a context, which is ctx- and 64 hex"
    for asked in (plane.plane.context(id_), plane.plane.delete_context(id_)):
        with pytest.raises(NotFound, match=said):
            plane.run(asked)
    with pytest.raises(NotFound) as caught:
        plane.answer("", [with_context(id_, rows())])
    assert len(str(caught.value)) < 300
    with pytest.raises(NotFound, match="deleted, has expired or never was"):
        plane.context("ctx-" + 64 * "0")
