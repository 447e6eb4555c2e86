"""The Triton kernels of the delta rule on DEVICE; ``test_delta_rule`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch
from torch.nn.functional import normalize

from foretoken.kernels.delta_rule import reference
from foretoken.kernels.delta_rule import triton as kernel
from tests.kernels.common import BOUNDS, doubled, expect_close

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
# B, T, K, V: single steps, chunks that end on their bound and beside it, several column blocks.
SHAPES = [(1, 1, 16, 16), (2, 15, 8, 24), (2, 16, 32, 20), (3, 50, 5, 7), (1, 17, 64, 80)]
H = 2


def drawn(B, T, K, V, dtype=torch.float32, gated=True, repeated=False):
    """q, k, v, beta, g and S."""
    torch.manual_seed(B * 1000 + T)
    q, k = torch.randn(2, B, T, H, K, device=DEVICE)
    if repeated:
        k = k[:, :1].expand_as(k)
    v, beta = torch.randn(B, T, H, V, device=DEVICE), torch.rand(B, T, H, device=DEVICE)
    g = -3 * torch.rand(B, T, H, device=DEVICE) if gated else None
    S = torch.randn(B, H, K, V, device=DEVICE)
    return q.to(dtype), normalize(k, dim=-1).to(dtype), v.to(dtype), beta.to(dtype), g, S


def first(q, k, v, beta, g, S):
    """The arguments of one step."""
    return q[:, 0], k[:, 0], v[:, 0], beta[:, 0], None if g is None else g[:, 0], S


def pool(S, N, slots):
    """A pool [N, 2, ...] of random states, with S in layer 1 where ``slots`` says."""
    whole = torch.randn(N, 2, *S.shape[1:], device=DEVICE)
    whole[slots, 1] = S
    return whole


def expect_untouched(whole, before, slots):
    """Only layer 1 of ``slots`` differs."""
    changed = (whole != before).flatten(2).any(-1)
    assert changed[slots, 1].all()
    changed[slots, 1] = False
    assert not changed.any()


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_that_of_the_reference(shape, gated, dtype):
    given = first(*drawn(*shape, dtype, gated))
    made = kernel.step(*given)
    for mine, wanted in zip(made, reference.step(*doubled(*given)), strict=True):
        expect_close(mine, wanted, dtype)
    assert (made[0].dtype, made[1].dtype) == (dtype, torch.float32)


@pytest.mark.parametrize("gated", [False, True])
def test_a_step_in_place_is_the_step_and_touches_nothing_else(gated):
    *given, S = first(*drawn(4, 1, 24, 40, gated=gated))
    slots = torch.tensor([7, 0, 3, 9], device=DEVICE)
    whole = pool(S, 10, slots)
    before = whole.clone()
    out = kernel.step_(*given, whole[:, 1], slots)
    wanted, after = kernel.step(*given, S)
    assert torch.equal(out, wanted)
    assert torch.equal(whole[slots, 1], after)
    expect_untouched(whole, before, slots)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_chunks_are_those_of_the_reference(shape, gated, dtype):
    expect_chunks(*drawn(*shape, dtype, gated))


@pytest.mark.parametrize("gated", [False, True])
def test_keys_may_be_the_same_in_all_steps(gated):
    expect_chunks(*drawn(2, 40, 16, 8, gated=gated, repeated=True))


def expect_chunks(*given):
    *given, S = given
    made = kernel.chunk(*given, None, S)
    for mine, wanted in zip(made, reference.chunk(*doubled(*given, None, S)), strict=True):
        expect_close(mine, wanted, given[0].dtype)
    assert (made[0].dtype, made[1].dtype) == (given[0].dtype, torch.float32)


@pytest.mark.parametrize("gated", [False, True])
def test_what_lies_after_length_is_never_looked_at(gated):
    *given, S = drawn(5, 50, 8, 24, gated=gated)
    length = torch.tensor([50, 16, 0, 17, 1], device=DEVICE)
    for b, real in enumerate(length):
        for tensor in given:
            if tensor is not None:
                tensor[b, real:] = torch.nan
    out, after = kernel.chunk(*given, length, S)
    for b, real in enumerate(length):
        assert (out[b, real:] == 0).all()
        if not real:
            assert torch.equal(after[b], S[b])
            continue
        alone = [None if t is None else t[b : b + 1, :real] for t in given]
        o, its = reference.chunk(*doubled(*alone, None, S[b : b + 1]))
        expect_close(out[b : b + 1, :real], o, torch.float32)
        expect_close(after[b : b + 1], its, torch.float32)


def test_chunks_in_place_are_the_chunks_and_touch_nothing_else():
    *given, S = drawn(3, 40, 24, 40)
    slots, length = torch.tensor([[5, 0, 2], [40, 7, 33]], device=DEVICE)
    whole = pool(S, 6, slots)
    before = whole.clone()
    out = kernel.chunk_(*given, length, whole[:, 1], slots)
    wanted, after = kernel.chunk(*given, length, S)
    assert torch.equal(out, wanted)
    assert torch.equal(whole[slots, 1], after)
    expect_untouched(whole, before, slots)


def test_any_strides_do():
    given = drawn(2, 33, 8, 24)
    wanted = kernel.chunk(*given[:-1], None, given[-1])
    turned = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in given]
    made = kernel.chunk(*turned[:-1], None, turned[-1])
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


def test_no_rows_are_none():
    given = [t[:0] for t in drawn(1, 3, 8, 24)]
    assert kernel.step(*first(*given))[0].shape == (0, H, 24)
    assert kernel.chunk(*given[:-1], None, given[-1])[0].shape == (0, 3, H, 24)
