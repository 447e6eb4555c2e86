"""Root mean square layer normalisation is its definition, and so are the Triton kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import rmsnorm as op
from foretoken.kernels.rmsnorm import reference
from tests.kernels.common import DEVICES, launch

EPS = 1e-5


def drawn(dtype=torch.float64):
    torch.manual_seed(0)
    x, more = 3 * torch.randn(2, 4, 5, 24, dtype=dtype)
    return x, more, torch.randn(24, dtype=dtype)


def test_the_reference_is_the_definition():
    x, more, weight = drawn()
    total, made = reference.add_rmsnorm(x, more, weight, EPS)
    rows = x.numpy() + more.numpy()
    size = np.sqrt((rows**2).mean(-1, keepdims=True) + EPS)
    np.testing.assert_array_equal(total, rows)
    np.testing.assert_allclose(made, rows / size * weight.numpy(), rtol=1e-14)
    assert torch.equal(made, reference.rmsnorm(total, weight, EPS))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_rows_are_added_up_in_float32(dtype):
    x, more, weight = (t.to(dtype) for t in drawn())
    total, made = reference.add_rmsnorm(x, more, weight, EPS)
    assert (total.dtype, made.dtype) == (dtype, dtype)
    wanted = reference.rmsnorm(total.double(), weight.double(), EPS)
    torch.testing.assert_close(made.double(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_a_cpu_is_served_by_the_reference():
    x, more, weight = drawn(torch.float32)
    assert torch.equal(op.rmsnorm(x, weight, EPS), reference.rmsnorm(x, weight, EPS))
    made = op.add_rmsnorm(x, more, weight, EPS)
    wanted = reference.add_rmsnorm(x, more, weight, EPS)
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_are_the_reference(device):
    assert launch("kernel_rmsnorm.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernels_unless_somebody_wants_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from foretoken.kernels.rmsnorm import triton as kernel

    x, more, weight = (t.float().cuda() for t in drawn())
    made, wanted = (side.add_rmsnorm(x, more, weight, EPS) for side in (op, kernel))
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    weight.requires_grad_()
    op.rmsnorm(x, weight, EPS).sum().backward()
    assert weight.grad is not None
