"""Questions about different contexts at the same time: those worth copying share a batch."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from foretoken.models.tasks import TabularRequest
from foretoken.server.engine.observer import SILENT
from foretoken.server.plane import Plane
from foretoken.server.settings import load_settings
from tests.asynchronous import awaited

MEMBERS, ASKED = 2, 3


class Heard:
    """An observer that remembers the batches of one graph."""

    def __init__(self) -> None:
        self.batches = []

    def batch(self, batch):
        if batch.graph == "query":
            self.batches.append(batch)

    def __getattr__(self, name):
        return getattr(SILENT, name)


def training(seed, rows):
    rng = np.random.default_rng(seed)
    train = {f"x{i}": rng.standard_normal(rows) for i in range(4)}
    return TabularRequest(train=train, target=np.arange(rows) % 3, options={"members": MEMBERS})


def question(context, seed):
    rng = np.random.default_rng(100 + seed)
    test = {f"x{i}": rng.standard_normal(ASKED) for i in range(4)}
    return TabularRequest(test=test, context=context)


@pytest.mark.parametrize(
    ("rows", "together"),
    [
        ([40] * 6, True),  # of one shape
        ([40, 41, 39, 40, 38, 41], True),  # much the same: padded, which changes no row
        ([600] * 6, False),  # to copy them would cost more than company saves
    ],
)
@awaited
async def test_questions_about_many_contexts_are_answered_as_each_alone(
    registry, published, rows, together
):
    registry.register("tables", published("tabpfn"))
    heard = Heard()
    settings = load_settings(data_dir=registry.data_dir, threads=1, batch_wait=0.2)
    plane = Plane(registry, settings, heard)
    try:
        fitted = [await plane.fit("tables", training(i, n)) for i, n in enumerate(rows)]
        asked = [question(each.context.id, i) for i, each in enumerate(fitted)]
        sizes = [each.context.nbytes for each in fitted]
        lane = (await plane.describe("tables")).lanes["query"]
        limit = max(sizes) if together else min(sizes) - 1
        lane.limits = replace(lane.limits, copied=limit)
        alone = [(await plane.predict("", [each])).replies[0] for each in asked]
        heard.batches.clear()
        company = await asyncio.gather(*(plane.predict("", [each]) for each in asked))
    finally:
        await plane.close()
    batches = sorted(batch.rows for batch in heard.batches)
    assert batches == ([6 * MEMBERS] if together else [MEMBERS] * 6)
    for one, answers in zip(alone, company, strict=True):
        (reply,) = answers.replies
        np.testing.assert_allclose(reply.probabilities, one.probabilities, atol=1e-6)
        np.testing.assert_allclose(reply.uncertainty, one.uncertainty, atol=1e-6)
