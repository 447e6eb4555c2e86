"""The Triton kernels beside their reference on DEVICE; ``test_rope`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.rope import reference
from foretoken.kernels.rope import triton as kernel
from tests.kernels.common import BOUNDS, doubled, expect_close

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
# N, H, K, D: single tokens, groups of 1, 2 and 7 heads, odd numbers of pairs, many programs.
SHAPES = [(7, 6, 3, 2), (1, 14, 2, 64), (3, 4, 4, 8), (5, 7, 1, 10), (33, 4, 2, 24), (9, 8, 4, 256)]


def drawn(N, H, K, D, dtype=torch.float32):
    """q, k, v, cos and sin."""
    torch.manual_seed(N * 100 + D)
    q, k, v = (torch.randn(N, n, D, device=DEVICE).to(dtype) for n in (H, K, K))
    angles = 100 * torch.randn(N, D // 2, device=DEVICE)
    return q, k, v, angles.cos(), angles.sin()


def pool(N, K, D, s, dtype):
    """Keys and values of nobody in blocks of s, and a place in them for each token."""
    P = -(-N // s) + 3
    kept = torch.randn(2, P, s, K, D, device=DEVICE).to(dtype)
    return *kept, torch.randperm(P * s)[:N].to(DEVICE)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_heads_are_turned_as_by_the_reference(shape, dtype):
    q, k, _, *turn = drawn(*shape, dtype)
    made = kernel.rotate(q, k, *turn)
    for mine, wanted in zip(made, reference.rotate(*doubled(q, k, *turn)), strict=True):
        assert mine.dtype == torch.float32  # that of the angles
        expect_close(mine, wanted, torch.float32)


@pytest.mark.parametrize("s", [1, 16])
@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_kept_is_that_of_the_reference_and_nothing_else_is_touched(shape, dtype, s):
    N, _, K, D = shape
    given = drawn(*shape, dtype)
    keys, values, places = pool(N, K, D, s, dtype)
    wanted_keys, wanted_values = keys.double(), values.double()
    before = keys.clone(), values.clone()
    made = kernel.rotate_into_(*given, keys, values, places)
    wanted = reference.rotate_into_(*doubled(*given), wanted_keys, wanted_values, places)
    assert made.dtype == dtype
    expect_close(made, wanted, dtype)
    expect_close(keys, wanted_keys, dtype)
    assert torch.equal(values.double(), wanted_values)
    left = torch.ones(keys.shape[0] * s, dtype=torch.bool, device=DEVICE)
    left[places] = False
    for kept, old in zip((keys, values), before, strict=True):
        assert torch.equal(kept.flatten(0, 1)[left], old.flatten(0, 1)[left])


def test_a_pool_may_be_narrower():
    q, k, v, *turn = drawn(5, 4, 2, 24)
    keys, values, places = pool(5, 2, 24, 16, torch.bfloat16)
    made = kernel.rotate_into_(q, k, v, *turn, keys, values, places)
    assert made.dtype == torch.bfloat16
    wanted = *reference.rotate(*doubled(q, k, *turn)), v.double()
    for mine, its in zip((made, keys, values), wanted, strict=True):
        found = mine if mine is made else mine.flatten(0, 1)[places]
        expect_close(found, its, torch.bfloat16)


def test_several_tokens_may_go_to_the_spare_block():
    q, k, v, *turn = drawn(6, 4, 2, 8)
    keys, values, _ = pool(6, 2, 8, 2, torch.float32)
    before = keys.clone()
    places = torch.tensor([0, 4, 0, 1, 1, 5], device=DEVICE)
    kernel.rotate_into_(q, k, v, *turn, keys, values, places)
    own = torch.tensor([1, 5], device=DEVICE)
    wanted = kernel.rotate(q, k, *turn)[1]
    assert torch.equal(keys[2], wanted[own])
    assert torch.equal(values[2], v[own])
    assert torch.equal(keys[1], before[1])
    assert torch.equal(keys[3:], before[3:])


def test_rows_of_equal_length_share_their_angles():
    q, k, _, *turn = drawn(5, 4, 2, 24)
    rows = [torch.stack([each, 2 * each]) for each in (q, k)]
    made = kernel.rotate(*rows, *turn)
    for mine, alone in zip(made, kernel.rotate(q, k, *turn), strict=True):
        assert torch.equal(mine, torch.stack([alone, 2 * alone]))


def test_any_strides_do():
    q, k, v, *turn = drawn(5, 4, 2, 24)
    whole = torch.cat([q, k, v], dim=1)
    parts = whole.split([4, 2, 2], dim=1)
    turn = [each.t().contiguous().t() for each in turn]
    made = kernel.rotate(*parts[:2], *turn)
    assert all(torch.equal(a, b) for a, b in zip(made, kernel.rotate(q, k, *turn), strict=True))
    (keys, values, places), found = pool(5, 2, 24, 16, torch.float32), []
    for given in (parts, (q, k, v)):
        kept = keys.clone(), values.clone()
        found.append((kernel.rotate_into_(*given, *turn, *kept, places), *kept))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_no_tokens_are_none():
    q, k, v, *turn = (each[:0] for each in drawn(2, 4, 2, 8))
    assert kernel.rotate(q, k, *turn)[1].shape == (0, 2, 8)
    keys, values, places = pool(0, 2, 8, 4, torch.float32)
    assert kernel.rotate_into_(q, k, v, *turn, keys, values, places).shape == (0, 4, 8)
