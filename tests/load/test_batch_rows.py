"""Batching is not to be seen: a curve among others is answered as it is alone."""

from __future__ import annotations

import concurrent.futures

import numpy as np

from tests.load.calling import call, infer, tensors
from tests.load.watching import SHARED, total, until

CALLERS, CURVES = 32, 192


def curve(number: int) -> dict[str, np.ndarray]:
    """One of many lengths."""
    rng = np.random.default_rng(number)
    seen, asked = rng.integers(1, 80), rng.integers(1, 60)
    values = np.clip(0.9 - 0.6 * np.arange(1, seen + 1) ** -rng.uniform(0.2, 1), 0, 1)
    return {
        "values": values,
        "steps": np.arange(1.0, seen + 1),
        "at": np.arange(seen + 1.0, seen + asked + 1),
    }


def test_a_row_of_a_batch_is_the_row_alone(server, channel):
    def answer(number: int) -> dict[str, np.ndarray]:
        return tensors(call(channel, "ModelInfer", infer("lcpfn:1", **curve(number))))

    alone = [answer(number) for number in range(CURVES)]
    assert until(lambda: batches(server)[1] >= CURVES)
    count, rows = batches(server)
    with concurrent.futures.ThreadPoolExecutor(CALLERS) as callers:
        together = list(callers.map(answer, range(CURVES)))
    assert until(lambda: batches(server)[1] >= rows + CURVES, SHARED * 10)
    assert batches(server)[0] - count < 0.8 * CURVES, "nothing was batched"
    for one, other in zip(alone, together, strict=True):
        for name, array in one.items():
            np.testing.assert_allclose(other[name], array, rtol=0, atol=1e-5)


def batches(server) -> tuple[float, float]:
    """That have run, and their rows."""
    return total(server, "foretoken_batch_rows_count"), total(server, "foretoken_batch_rows_sum")
