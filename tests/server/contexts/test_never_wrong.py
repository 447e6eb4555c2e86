"""A cached answer is the uncached one, and never another table's, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foretoken.errors import NotFound
from foretoken.server.local import LocalPlane
from foretoken.server.registry.registry import Registry
from foretoken.server.settings import load_settings
from tests.server.contexts.tables import inline, rows, same, table, variant, with_context

MODELS = ("toy", "other")
TABLES = 6
WORKERS = 2


class Shop:
    """Two workers on one data dir, and what a third says of every table without its context."""

    def __init__(self, data_dir, **given) -> None:
        self._data_dir, self._given = data_dir, given
        self._registries: list[Registry] = []
        self._plain: dict = {}
        self.reference = self._open()
        self.workers = [self._open(**given) for _ in range(WORKERS)]
        self.ids: dict = {}
        self.hits: Counter = Counter()

    def _open(self, **given) -> LocalPlane:
        self._registries.append(Registry.open(self._data_dir))
        chosen = load_settings(data_dir=self._data_dir, **given)
        return LocalPlane(self._registries[-1], chosen)

    def restart(self, worker: int) -> None:
        self.workers[worker].close()
        self.workers[worker] = self._open(**self._given)

    def request(self, i: int, turned: bool):
        request = table(i, n=4 + 3 * (i // 2), classes=2 + i % 2)
        if turned:
            request = replace(request, train=dict(reversed(request.train.items())))
        return request

    def plain(self, model: str, i: int):
        """What the model says of the table when nothing is kept of it, with another plane."""
        if (model, i) not in self._plain:
            loaded = self.reference.run(self.reference.plane.describe(model))
            steps = loaded.predictor.predict(inline(self.request(i, turned=False), rows(i)))
            reply = self.reference.run(
                self.reference.plane._answering.driven(loaded, steps, _anyone())
            )
            self._plain[model, i] = reply
        return self._plain[model, i]

    def expect(self, model: str, i: int, answers) -> None:
        (reply,), plain = answers.replies, self.plain(model, i)
        np.testing.assert_array_equal(reply.classes, plain.classes)
        np.testing.assert_allclose(reply.probabilities, plain.probabilities, atol=1e-5)
        self.hits[answers.hits[0]] += 1

    def do(self, what: str, worker: int, model: str, i: int, turned: bool) -> None:
        plane, known = self.workers[worker], self.ids.get((model, i))
        if what == "restart":
            self.restart(worker)
        elif what == "fit" or (known is None and what in ("ask", "delete")):
            fitted = plane.fit(model, self.request(i, turned))
            assert known in (None, fitted.context.id)
            assert fitted.context.id not in {v for k, v in self.ids.items() if k != (model, i)}
            self.ids[model, i] = fitted.context.id
        elif what == "ask":
            self.expect(model, i, plane.answer("", [with_context(known, rows(i))]))
        elif what == "inline":
            request = inline(self.request(i, turned), rows(i))
            self.expect(model, i, plane.answer(model, [request]))
        elif what == "delete":
            plane.delete_context(self.ids.pop((model, i)))
            for each in self.workers:
                with pytest.raises(NotFound):
                    each.answer("", [with_context(known, rows(i))])
        elif what == "all":
            keys = [key for key in self.ids if key[0] == model]
            if not keys:  # all of them have been deleted
                return
            requests = [with_context(self.ids[key], rows(key[1])) for key in keys]
            answers = plane.answer("", requests)
            for key, reply, hit in zip(keys, answers.replies, answers.hits, strict=True):
                self.expect(*key, answers._replace(replies=[reply], hits=(hit,)))

    def close(self) -> None:
        for each in (*self.workers, self.reference):
            each.close()
        for each in self._registries:
            each.close()


def _anyone():
    from foretoken.server.terms import Terms

    return Terms()


@pytest.fixture
def shops(data_dir, registry, published, tmp_path):
    registry.register("other", variant(published("in_context"), tmp_path, 1.5))
    opened = []

    def open_one(**given) -> Shop:
        opened.append(Shop(data_dir, **given))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


WHAT = ["fit", "ask", "ask", "ask", "inline", "delete", "all", "restart"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.integers(0, WORKERS - 1),
        st.sampled_from(MODELS),
        st.integers(0, TABLES - 1),
        st.booleans(),
    ),
    min_size=4,
    max_size=16,
)


def run(shop: Shop, examples: int) -> None:
    """Examples go on from where the one before has left the data dir."""

    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(STEPS)
    def check(steps) -> None:
        for step in steps:
            shop.do(*step)

    for what in ("inline", "fit", "ask"):  # one miss and one hit at least
        shop.do(what, 0, "toy", 0, turned=False)
    check()
    assert shop.hits[True] > 0
    assert shop.hits[False] > 0


# Room for the states of three or four of the twelve contexts, and for one that is open.
TINY = {"context_bytes": 9000, "context_memory": 3000}


def test_cached_is_uncached_with_little_room(shops):
    run(shops(**TINY), 12)


def test_cached_is_uncached_with_room_for_all(shops):
    run(shops(), 12)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("given", [TINY, {}])
def test_cached_is_uncached_many_times(shops, given):
    run(shops(**given), 500)


def test_tables_that_differ_little_are_told_apart(shops):
    """One value, one label, one name or one column more: every answer is the table's own."""
    shop = shops()
    plane, base = shop.workers[0], table(0)
    moved = {**base.train, "x0": base.train["x0"] + np.eye(1, 12)[0] * 2}
    tables = [
        base,
        replace(base, train=moved),
        replace(base, target=(base.target + 1) % 3),
        replace(base, target=base.target * 10),
        replace(base, train={k: v for k, v in base.train.items() if k != "x2"}),
        table(0, n=11),
    ]
    contexts = [plane.fit("toy", each).context.id for each in tables]
    assert len(set(contexts)) == len(tables)
    for each, context in zip(tables, contexts, strict=True):
        test = {name: rows()[name] for name in each.train}
        loaded = shop.reference.run(shop.reference.plane.describe("toy"))
        steps = loaded.predictor.predict(inline(each, test))
        reply = shop.reference.run(shop.reference.plane._answering.driven(loaded, steps, _anyone()))
        found = shop.workers[1].answer("", [with_context(context, test)])
        same(found, found._replace(replies=[reply]))
