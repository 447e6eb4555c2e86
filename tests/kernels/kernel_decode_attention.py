"""The Triton kernel beside its reference on DEVICE; ``test_decode_attention`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.decode_attention import reference
from foretoken.kernels.decode_attention import triton as kernel
from tests.kernels import common
from tests.kernels.common import doubled

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
# Tokens of each row, T, H, K, D, s, parts: rows of one token, groups of 1, 2 and 7 heads, chunks,
# ends on a block's bound and beside it, odd widths, several parts.
SHAPES = [
    ((1,), 1, 4, 4, 16, 16, None),
    ((1, 1, 1), 1, 7, 1, 32, 1, 1),
    ((16, 1, 17), 1, 4, 2, 24, 16, 1),
    ((64, 65, 3), 1, 14, 2, 64, 16, 1),
    ((130, 40), 2, 2, 2, 10, 1, 3),
    ((300, 1, 129, 256), 1, 4, 2, 32, 16, 5),
    ((70, 9), 9, 7, 1, 20, 16, 2),
    ((200, 150), 150, 2, 1, 16, 16, 4),
    ((33, 35), 33, 4, 4, 128, 5, 1),
]


def drawn(lengths, T, H, K, D, s, dtype=torch.float32, scale=1.0):
    """Queries, a pool whose blocks are taken in any order, tables and lengths.

    What no row has written is NaN: blocks of nobody, the spare one, and the rest of last blocks.
    """
    torch.manual_seed(sum(lengths) * 100 + D)
    needed = [-(-n // s) for n in lengths]
    P = sum(needed) + 4
    order = iter((torch.randperm(P - 1) + 1).tolist())
    tables = torch.zeros(len(lengths), max(needed), dtype=torch.int64)
    pool = torch.full((2, P, s, K, D), torch.nan)
    for b, (n, blocks) in enumerate(zip(lengths, needed, strict=True)):
        tables[b, :blocks] = torch.tensor([next(order) for _ in range(blocks)])
        at = torch.arange(n)
        pool[:, tables[b, at // s], at % s] = torch.randn(2, n, K, D)
    q = scale * torch.randn(len(lengths), T, H, D)
    keys, values = (each.to(DEVICE, dtype) for each in pool)
    return q.to(DEVICE, dtype), keys, values, tables.to(DEVICE), torch.tensor(lengths).to(DEVICE)


def expect_close(made, given):
    assert made.dtype == given[2].dtype
    common.expect_close(made, reference.decode_attention(*doubled(*given)), made.dtype)


@pytest.mark.parametrize("dtype", list(common.BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_reference(shape, dtype):
    given = drawn(*shape[:-1], dtype)
    expect_close(kernel.decode_attention(*given, shape[-1]), given)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4])
def test_scores_may_be_equal_or_large(scale, parts):
    given = drawn((150, 20), 3, 4, 2, 16, 16, scale=scale)
    expect_close(kernel.decode_attention(*given, parts), given)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_row_is_the_same_in_any_blocks_of_a_pool(parts):
    q, keys, values, tables, seen = drawn((150, 150), 2, 4, 2, 16, 16)
    q[1] = q[0]
    keys[tables[1]], values[tables[1]] = keys[tables[0]], values[tables[0]]
    made = kernel.decode_attention(q, keys, values, tables, seen, parts)
    assert torch.equal(made[0], made[1])
    assert torch.equal(made, kernel.decode_attention(q, keys, values, tables, seen, parts))


def test_a_chunk_is_its_tokens_one_by_one():
    q, keys, values, tables, seen = drawn((40, 19), 7, 4, 2, 16, 16)
    made = kernel.decode_attention(q, keys, values, tables, seen)
    for t in range(7):
        alone = kernel.decode_attention(q[:, t : t + 1], keys, values, tables, seen - 6 + t)
        torch.testing.assert_close(made[:, t : t + 1], alone, rtol=1e-5, atol=1e-6)


def test_any_strides_do():
    given = drawn((70, 9), 3, 4, 2, 16, 16)
    wanted = kernel.decode_attention(*given, 2)
    turned = [t.transpose(0, 1).contiguous().transpose(0, 1) for t in given[:-1]]
    assert not any(t.is_contiguous() for t in turned)
    assert torch.equal(kernel.decode_attention(*turned, given[-1], 2), wanted)


def test_queries_may_be_wider_than_what_is_kept():
    q, *rest = drawn((70, 9), 1, 4, 2, 16, 16, torch.bfloat16)
    made = kernel.decode_attention(q.float(), *rest)
    assert torch.equal(made, kernel.decode_attention(q, *rest))
    assert made.dtype == torch.bfloat16


def test_no_rows_are_none():
    q, keys, values, tables, seen = drawn((5,), 1, 4, 2, 16, 16)
    made = kernel.decode_attention(q[:0], keys, values, tables[:0], seen[:0])
    assert made.shape == (0, 1, 4, 16)
