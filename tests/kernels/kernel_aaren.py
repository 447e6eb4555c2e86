"""The Triton kernels of Aaren beside their reference on DEVICE; ``test_aaren`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.aaren import reference
from foretoken.kernels.aaren import triton as kernel
from tests.kernels.common import BOUNDS, doubled, expect_close

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
RATES = [None, (0.0, 0.05, 3.0)]
# B, T, D: single steps, chunks that end on their bound and beside it, odd widths.
SHAPES = [(1, 1, 16), (2, 31, 8), (2, 32, 24), (3, 70, 5), (2, 33, 64)]
H = 3


def drawn(B, T, D, dtype=torch.float32, scale=1.0, rates=None, fresh=False):
    """Scores, values, their state, and rates of decay."""
    torch.manual_seed(B * 1000 + T)
    scores = (scale * torch.randn(B, T, H, device=DEVICE)).to(dtype)
    values = torch.randn(B, T, H, D, device=DEVICE).to(dtype)
    m = torch.full((B, H), reference.NOTHING, device=DEVICE)
    u, w = torch.zeros(B, H, device=DEVICE), torch.zeros(B, H, D, device=DEVICE)
    if not fresh:
        m, u, w = scale * torch.randn_like(m), torch.rand_like(u) + 1, torch.randn_like(w)
    return scores, values, (m, u, w), None if rates is None else torch.tensor(rates, device=DEVICE)


def pools(state, N, slots):
    """Layer 1 of pools [N, 2, ...] of random states, and these where ``slots`` says."""
    whole = [torch.randn(N, 2, *t.shape[1:], device=DEVICE) for t in state]
    for pool, rows in zip(whole, state, strict=True):
        pool[slots, 1] = rows
    assert not whole[0][:, 1].is_contiguous()
    return whole


def expect_untouched(whole, before, slots):
    """Only layer 1 of ``slots`` differs."""
    for pool, old in zip(whole, before, strict=True):
        changed = (pool != old).flatten(2).any(-1)
        assert changed[slots, 1].all()
        changed[slots, 1] = False
        assert not changed.any()


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_step_is_that_of_the_reference(dtype, rates, fresh):
    for B, D, scale in ((1, 16, 1.0), (50, 24, 200.0), (3, 5, 1.0), (2, 128, 0.0)):
        scores, values, state, decay = drawn(B, 1, D, dtype, scale, rates, fresh)
        made = kernel.step(scores[:, 0], values[:, 0], *state, decay)
        given = doubled(scores[:, 0], values[:, 0], *state, decay)
        for mine, wanted in zip(made, reference.step(*given), strict=True):
            expect_close(mine, wanted, dtype)
        assert made[0].dtype == dtype
        assert {t.dtype for t in made[1:]} == {torch.float32}


@pytest.mark.parametrize("rates", RATES)
def test_a_step_in_place_is_the_step_and_touches_nothing_else(rates):
    scores, values, state, decay = drawn(4, 1, 24, rates=rates)
    slots = torch.tensor([7, 0, 3, 9], device=DEVICE)
    whole = pools(state, 10, slots)
    before = [pool.clone() for pool in whole]
    layer = [pool[:, 1] for pool in whole]
    out = kernel.step_(scores[:, 0], values[:, 0], *layer, slots, decay)
    wanted = kernel.step(scores[:, 0], values[:, 0], *state, decay)
    made = [out, *(pool[slots] for pool in layer)]
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    expect_untouched(whole, before, slots)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_scan_is_that_of_the_reference(shape, dtype):
    for fresh, rates in zip((False, True), RATES, strict=True):
        expect_scan(*drawn(*shape, dtype, 1.0, rates, fresh))


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("scale", [0.0, 200.0])
def test_scores_may_be_equal_or_large(scale, fresh, rates):
    expect_scan(*drawn(2, 35, 8, torch.float32, scale, rates, fresh))


def expect_scan(scores, values, state, decay):
    made = kernel.scan(scores, values, None, *state, decay)
    given = doubled(scores, values, None, *state, decay)
    for mine, wanted in zip(made, reference.scan(*given), strict=True):
        expect_close(mine, wanted, values.dtype)
    assert made[0].dtype == values.dtype


@pytest.mark.parametrize("rates", RATES)
def test_what_lies_after_length_is_never_looked_at(rates):
    scores, values, state, decay = drawn(5, 70, 8, rates=rates)
    length = torch.tensor([70, 32, 0, 33, 1], device=DEVICE)
    for b, real in enumerate(length):
        scores[b, real:], values[b, real:] = torch.nan, torch.nan
    out, *after = kernel.scan(scores, values, length, *state, decay)
    for b, real in enumerate(length):
        assert (out[b, real:] == 0).all()
        alone = [t[b : b + 1] for t in state]
        if not real:
            assert all(torch.equal(a[b], t[0]) for a, t in zip(after, alone, strict=True))
            continue
        given = doubled(scores[b : b + 1, :real], values[b : b + 1, :real], None, *alone, decay)
        wanted = reference.scan(*given)
        made = [out[b : b + 1, :real], *(t[b : b + 1] for t in after)]
        for mine, its in zip(made, wanted, strict=True):
            expect_close(mine, its, torch.float32)


def test_a_scan_in_place_is_the_scan_and_touches_nothing_else():
    scores, values, state, decay = drawn(3, 40, 24, rates=RATES[1])
    slots, length = torch.tensor([[5, 0, 2], [40, 7, 33]], device=DEVICE)
    whole = pools(state, 6, slots)
    before = [pool.clone() for pool in whole]
    layer = [pool[:, 1] for pool in whole]
    out = kernel.scan_(scores, values, length, *layer, slots, decay)
    wanted = kernel.scan(scores, values, length, *state, decay)
    made = [out, *(pool[slots] for pool in layer)]
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    expect_untouched(whole, before, slots)


def test_any_strides_do():
    scores, values, state, _ = drawn(2, 33, 8)
    wanted = kernel.scan(scores, values, None, *state)
    turned = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in (scores, values, *state)]
    made = kernel.scan(*turned[:2], None, *turned[2:])
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


def test_no_rows_are_none():
    scores, values, state, _ = drawn(1, 3, 8)
    empty = [t[:0] for t in state]
    assert kernel.step(scores[:0, 0], values[:0, 0], *empty)[0].shape == (0, H, 8)
    assert kernel.scan(scores[:0], values[:0], None, *empty)[0].shape == (0, 3, H, 8)
