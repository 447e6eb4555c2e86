"""The Triton kernels beside their reference on DEVICE; ``test_rmsnorm`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.rmsnorm import reference
from foretoken.kernels.rmsnorm import triton as kernel
from tests.kernels.common import BOUNDS, doubled, expect_close

DEVICE = os.environ["DEVICE"]
EPS = 1e-5
pytestmark = pytest.mark.usefixtures("poisoned")
# Rows of any number of axes, odd widths, more rows than a program holds, a row of 8 warps.
SHAPES = [(1, 3), (3, 7), (2, 5, 24), (1, 896), (70, 64), (4, 2049), (2, 4100)]


def drawn(shape, dtype=torch.float32, scale=1.0):
    """Two summands and a weight."""
    torch.manual_seed(sum(shape))
    x, more = scale * torch.randn(2, *shape, device=DEVICE)
    weight = torch.randn(shape[-1], device=DEVICE)
    return x.to(dtype), more.to(dtype), weight.to(dtype)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_those_of_the_reference(shape, dtype):
    x, _, weight = drawn(shape, dtype)
    made = kernel.rmsnorm(x, weight, EPS)
    assert made.dtype == dtype
    expect_close(made, reference.rmsnorm(*doubled(x, weight), EPS), dtype)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_a_sum_and_its_rows_are_those_of_the_reference(shape, dtype):
    given = drawn(shape, dtype)
    total, made = kernel.add_rmsnorm(*given, EPS)
    assert (total.dtype, made.dtype) == (dtype, dtype)
    expect_close(total, given[0].double() + given[1].double(), dtype)
    expect_close(made, reference.rmsnorm(*doubled(total, given[2]), EPS), dtype)


def test_a_residual_may_be_wider_than_what_is_added():
    x, more, weight = drawn((5, 24))
    more, weight = more.bfloat16(), weight.bfloat16()
    total, made = kernel.add_rmsnorm(x, more, weight, EPS)
    assert (total.dtype, made.dtype) == (torch.float32, torch.float32)
    assert torch.equal(total, x + more)
    expect_close(made, reference.rmsnorm(*doubled(total, weight), EPS), torch.float32)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_rows_may_be_small_or_large(scale):
    x, _, weight = drawn((3, 24), scale=scale)
    expect_close(
        kernel.rmsnorm(x, weight, EPS), reference.rmsnorm(*doubled(x, weight), EPS), x.dtype
    )


def test_any_strides_do():
    given = drawn((6, 24))
    wanted = kernel.add_rmsnorm(*given, EPS)
    x, more = (torch.stack([t, t], dim=-1)[..., 1] for t in given[:2])
    weight = torch.stack([given[2], given[2]], dim=-1)[:, 0]
    assert not x.is_contiguous()
    made = kernel.add_rmsnorm(x, more.t().contiguous().t(), weight, EPS)
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


def test_no_rows_are_none():
    x, more, weight = drawn((2, 24))
    assert kernel.rmsnorm(x[:0], weight, EPS).shape == (0, 24)
    assert kernel.add_rmsnorm(x[:0], more[:0], weight, EPS)[1].shape == (0, 24)
