"""The Triton kernel beside its reference on DEVICE; ``test_swiglu`` runs this file."""

from __future__ import annotations

import os

import pytest
import torch

from foretoken.kernels.swiglu import reference
from foretoken.kernels.swiglu import triton as kernel
from tests.kernels.common import BOUNDS, doubled, expect_close

DEVICE = os.environ["DEVICE"]
pytestmark = pytest.mark.usefixtures("poisoned")
# Rows of any number of axes, odd widths, rows of several programs and programs of several rows.
SHAPES = [(1, 1), (3, 7), (2, 5, 24), (1, 1024), (70, 64), (3, 1025), (2, 2300)]


def drawn(shape, dtype=torch.float32, scale=1.0):
    """What gates and what is gated."""
    torch.manual_seed(sum(shape))
    gate, up = torch.randn(2, *shape, device=DEVICE)
    return (scale * gate).to(dtype), up.to(dtype)


@pytest.mark.parametrize("dtype", list(BOUNDS))
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_reference(shape, dtype):
    given = drawn(shape, dtype)
    made = kernel.swiglu(*given)
    assert made.dtype == dtype
    expect_close(made, reference.swiglu(*doubled(*given)), dtype)


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e4])
def test_gates_may_be_shut_or_wide_open(scale):
    given = drawn((3, 24), scale=scale)
    expect_close(kernel.swiglu(*given), reference.swiglu(*doubled(*given)), torch.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_may_lie_in_one(shape):
    given = drawn(shape)
    assert torch.equal(kernel.swiglu(torch.cat(given, dim=-1)), kernel.swiglu(*given))


def test_any_strides_do():
    gate, up = drawn((6, 24))
    wanted = kernel.swiglu(gate, up)
    gate, up = torch.stack([gate, gate], dim=-1)[..., 1], up.t().contiguous().t()
    assert torch.equal(kernel.swiglu(gate, up), wanted)


def test_no_rows_are_none():
    gate, up = drawn((2, 24))
    assert kernel.swiglu(gate[:0], up[:0]).shape == (0, 24)
    assert kernel.swiglu(gate[:0]).shape == (0, 12)
