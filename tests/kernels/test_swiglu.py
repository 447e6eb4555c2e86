"""The gate of Llama's MLP is its definition, and so is the Triton kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import swiglu as op
from foretoken.kernels.swiglu import reference
from tests.kernels.common import DEVICES, launch


def drawn(dtype=torch.float64):
    torch.manual_seed(0)
    return 3 * torch.randn(2, 4, 5, 24, dtype=dtype)


def test_the_reference_is_the_definition():
    gate, up = drawn()
    wanted = gate.numpy() / (1 + np.exp(-gate.numpy())) * up.numpy()
    np.testing.assert_allclose(reference.swiglu(gate, up), wanted, rtol=1e-12)
    np.testing.assert_allclose(reference.swiglu(torch.cat([gate, up], -1)), wanted, rtol=1e-12)


def test_a_cpu_is_served_by_the_reference():
    gate, up = drawn(torch.float32)
    assert torch.equal(op.swiglu(gate, up), reference.swiglu(gate, up))
    assert torch.equal(op.swiglu(gate), reference.swiglu(gate))


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_is_the_reference(device):
    assert launch("kernel_swiglu.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernel_unless_somebody_wants_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from foretoken.kernels.swiglu import triton as kernel

    gate, up = drawn(torch.float32).cuda()
    assert torch.equal(op.swiglu(gate, up), kernel.swiglu(gate, up))
    gate = gate.clone().requires_grad_()
    op.swiglu(gate, up).sum().backward()
    assert gate.grad is not None
