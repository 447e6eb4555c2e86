"""A batch's view of the pool keeps keys, turned by it or by others, and sees the same."""

from __future__ import annotations

import pytest
import torch

from foretoken.kernels.rope import rotate
from foretoken.models.layers.rope import angles, frequencies
from foretoken.server.engine.generation.spans import Spans
from tests.server.engine.generation import continuation, generator

H, K, D = 6, 2, 8  # of the small decoder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_are_kept_turned_whoever_turns_them(dtype):
    made = generator(chunk=5)
    made.pool.keys, made.pool.values = (
        each.to(dtype) for each in (made.pool.keys, made.pool.values)
    )
    batch = [made.add(continuation(ids)) for ids in ([1, 2, 3, 4, 5], [6, 7])]
    for one in made.admission.admit():
        one.pass_on(5)
    tokens = sum(one.count for one in batch)
    torch.manual_seed(0)
    q, k, v = (torch.randn(tokens, heads, D) for heads in (H, K, K))
    positions = torch.cat([torch.arange(one.begin, one.end) for one in batch])
    turn = angles(positions, frequencies(D, 1e4))
    view = made.pool.view(batch, Spans(batch, made.pool.size, made.pool.device))
    seen = view(*rotate(q, k, *turn), v)
    kept = made.pool.keys.clone(), made.pool.values.clone()
    assert seen.dtype == dtype
    assert torch.isfinite(seen).all()
    made.pool.keys.fill_(torch.nan)
    made.pool.values.fill_(torch.nan)
    assert torch.equal(view.unturned(q, k, v, *turn), seen)
    for mine, its in zip((made.pool.keys, made.pool.values), kept, strict=True):
        assert int(mine.isfinite().sum()) == tokens * K * D
        torch.testing.assert_close(mine, its, rtol=0, atol=0, equal_nan=True)
