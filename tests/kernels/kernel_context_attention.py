"""The Triton kernel beside its reference on DEVICE; ``test_context_attention`` runs this file.

Triton decides at its import whether it interprets, so this is a process of its own on a CPU.
"""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.context_attention import reference
from foretoken.kernels.context_attention import triton as kernel
from foretoken.kernels.parts import parts
from tests.kernels import common

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
# B, H, K, M, N, D, parts: single rows, groups of heads, lengths off the block, several parts.
SHAPES = [
    (1, 4, 4, 1, 1, 16, None),
    (2, 4, 4, 3, 64, 32, 1),
    (2, 4, 2, 5, 65, 16, 1),
    (2, 4, 1, 20, 130, 24, 1),
    (1, 4, 1, 1, 300, 32, 5),
    (2, 6, 3, 2, 200, 8, 2),
    (3, 2, 2, 1, 129, 128, 3),
]


def drawn(B, H, K, M, N, D, dtype=torch.float32, scale=1.0):
    torch.manual_seed(B * 1000 + N)
    q = torch.randn(B, H, M, D, device=DEVICE) * scale
    k, v = torch.randn(2, B, K, N, D, device=DEVICE)
    n = torch.randint(1, N + 1, (B,), device=DEVICE)
    n[-1] = N
    return q.to(dtype), k.to(dtype), v.to(dtype), n


def expect_close(made, q, k, v, n):
    wanted = reference.context_attention(q.double(), k.double(), v.double(), n)
    assert made.dtype == v.dtype
    common.expect_close(made, wanted, v.dtype)


@pytest.mark.parametrize("dtype", list(common.BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_reference(shape, dtype):
    given = drawn(*shape[:-1], dtype)
    expect_close(kernel.context_attention(*given, shape[-1]), *given)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("scale", [0.0, 30.0, 1e4])
def test_scores_may_be_equal_or_large(scale, parts):
    given = drawn(2, 2, 2, 3, 150, 16, scale=scale)
    expect_close(kernel.context_attention(*given, parts), *given)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_what_lies_after_n_is_never_looked_at(parts):
    q, k, v, n = drawn(3, 2, 1, 2, 256, 16)
    n = torch.tensor([1, 64, 100], device=DEVICE)
    wanted = kernel.context_attention(q, k, v, n, parts)
    expect_close(wanted, q, k, v, n)
    for b, real in enumerate(n):
        k[b, :, real:], v[b, :, real:] = torch.nan, torch.nan
    assert torch.equal(kernel.context_attention(q, k, v, n, parts), wanted)


def test_any_strides_do():
    q, k, v, n = drawn(2, 4, 2, 3, 70, 16)
    wanted = kernel.context_attention(q, k, v, n)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    assert not turned[0].is_contiguous()
    assert torch.equal(kernel.context_attention(*turned, n), wanted)


def test_no_rows_are_none():
    q, k, v, n = drawn(1, 2, 1, 0, 4, 16)
    assert kernel.context_attention(q, k, v, n).shape == (1, 2, 0, 16)


@pytest.mark.skipif(DEVICE != "cuda", reason="a CPU is served by the reference")
def test_few_rows_are_cut_into_parts_that_fill_the_device():
    device = torch.device("cuda", 0)
    cores = torch.cuda.get_device_properties(device).multi_processor_count
    assert parts(1, 1 << 14, device) >= cores
    assert parts(100 * cores, 1 << 14, device) == 1
    assert parts(1, 7, device) == 1
