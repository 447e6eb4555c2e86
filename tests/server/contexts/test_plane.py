"""Contexts through the plane: fitted once, answered from, pinned, evicted, rebuilt, deleted."""

from __future__ import annotations

import numpy as np

from tests.server.contexts.tables import inline, rows, table, with_context


def test_a_fitted_table_answers_as_the_table_itself(plane):
    fitted = plane.fit("toy", table())
    assert not fitted.cached
    cached = plane.answer("", [with_context(fitted.context.id, rows())])
    assert cached.hits == (True,)
    plain = plane.answer("toy", [inline(table(1), rows())])
    assert plain.hits == (False,)
    same = plane.answer("toy", [inline(table(), rows())])
    assert same.hits == (True,)
    np.testing.assert_array_equal(cached.replies[0].probabilities, same.replies[0].probabilities)
    assert np.abs(plain.replies[0].probabilities - same.replies[0].probabilities).max() > 1e-3
