"""Contexts and the versions that they were fitted with."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.errors import FailedPrecondition, InvalidInput, NotFound
from tests.server.contexts.tables import blobs_of, inline, rows, same, table, variant, with_context


@pytest.fixture
def second(published, registry, tmp_path):
    """Version 2 of "toy", whose weights are others."""
    return registry.register("toy", variant(published("in_context"), tmp_path, 1.5))


def answer(plane, context, model=""):
    return plane.answer(model, [with_context(context, rows())])


def test_a_context_stays_with_its_version_when_the_alias_moves(plane, registry, second):
    first = plane.fit("toy", table())
    before = answer(plane, first.context.id)
    registry.set_alias("toy", "champion", 2)
    for model in ("", "toy", "toy:1", "champion@toy"):
        after = answer(plane, first.context.id, model)
        assert (after.version.number, after.hits) == (1, (True,))
        same(after, before)
    new = plane.fit("toy", table())
    assert (new.version.number, new.cached) == (2, False)
    assert new.context.id != first.context.id
    moved = answer(plane, new.context.id)
    assert moved.version.number == 2
    same(moved, plane.answer("toy", [inline(table(), rows())]))
    assert np.abs(moved.replies[0].probabilities - before.replies[0].probabilities).max() > 1e-3


def test_a_context_of_another_model_or_version_is_refused(plane, registry, published, second):
    registry.register("other", published("in_context"))
    context = plane.fit("toy:1", table()).context.id
    for model in ("other", "other:1", "champion@other", "toy:2"):
        with pytest.raises(InvalidInput, match="was fitted with toy:1, not with"):
            answer(plane, context, model)
    twin = plane.fit("other", table())
    assert not twin.cached, "the same weights under another name are another model"
    assert answer(plane, twin.context.id, "other").version.ref == "other:1"


def test_contexts_of_two_versions_go_apart(plane, second):
    contexts = [plane.fit(f"toy:{n}", table()).context.id for n in (1, 2)]
    with pytest.raises(InvalidInput, match="contexts of one call are of one version"):
        plane.answer("", [with_context(c, rows()) for c in contexts])


def test_a_version_with_contexts_is_deleted_only_by_force(planes, registry, second):
    plane, other = planes(), planes()
    contexts = [plane.fit("toy:1", table(i)).context.id for i in range(2)]
    kept = plane.fit("toy:2", table()).context.id
    answer(other, contexts[0])
    registry.set_alias("toy", "champion", 2)
    with pytest.raises(FailedPrecondition, match=r"2 contexts were fitted with toy:1.*--force"):
        registry.delete("toy:1")
    assert answer(plane, contexts[0]).hits == (True,)
    registry.delete("toy:1", force=True)
    for each in (plane, other, planes()):
        for context in contexts:
            with pytest.raises(FailedPrecondition, match=r"toy:1.*has been deleted.*fit again"):
                answer(each, context)
            with pytest.raises(FailedPrecondition):
                each.context(context)
    assert [record.id for record in plane.contexts()] == [kept]
    assert len(blobs_of(registry)) == 2, "their data is gone"
    assert answer(plane, kept).hits == (True,)
    plane.delete_context(contexts[0])
    with pytest.raises(NotFound):
        answer(plane, contexts[0])


def test_a_version_without_contexts_is_deleted_as_ever(plane, registry, second):
    context = plane.fit("toy:1", table()).context.id
    plane.delete_context(context)
    registry.set_alias("toy", "champion", 2)
    assert registry.delete("toy:1").number == 1


def test_a_model_that_was_dropped_from_memory_is_loaded_again(planes, registry, second):
    plane = planes(model_bytes=registry.resolve("toy:1").size)
    contexts = [plane.fit(f"toy:{n}", table()).context.id for n in (1, 2)]
    for context, number in zip(contexts * 2, (1, 2, 1, 2), strict=True):
        answers = answer(plane, context)
        assert (answers.version.number, answers.hits) == (number, (True,))
        assert [held.version.number for held in plane.plane.loaded] == [number]
