"""Rotary position embedding turns pairs of numbers, and so do the Triton kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import rope as op
from foretoken.kernels.rope import reference
from tests.kernels.common import DEVICES, launch

N, H, K, D, s = 5, 4, 2, 8, 3


def drawn():
    """q, k, v and angles."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(N, n, D, dtype=torch.float64) for n in (H, K, K))
    return q, k, v, 100 * torch.randn(N, D // 2, dtype=torch.float64)


def pool(dtype=torch.float64):
    return torch.zeros(2, 4, s, K, D, dtype=dtype)


def test_pairs_are_complex_numbers_that_turn():
    q, k, _, angles = drawn()
    made = reference.rotate(q, k, angles.cos(), angles.sin())
    for mine, x in zip(made, (q.numpy(), k.numpy()), strict=True):
        turned = x[..., : D // 2] + 1j * x[..., D // 2 :]
        turned = turned * np.exp(1j * angles.numpy())[:, None]
        wanted = np.concatenate([turned.real, turned.imag], -1)
        np.testing.assert_allclose(mine, wanted, rtol=1e-12, atol=1e-12)


def test_rows_of_equal_length_share_their_angles():
    q, k, _, angles = drawn()
    turn = angles.cos(), angles.sin()
    made = reference.rotate(torch.stack([q, 2 * q]), torch.stack([k, 2 * k]), *turn)
    for mine, alone in zip(made, reference.rotate(q, k, *turn), strict=True):
        assert torch.equal(mine, torch.stack([alone, 2 * alone]))


def test_keys_and_values_are_kept_at_their_places_and_nowhere_else():
    q, k, v, angles = drawn()
    turn, (keys, values) = (angles.cos(), angles.sin()), pool()
    places = torch.tensor([4, 3, 11, 9, 7])
    made = reference.rotate_into_(q, k, v, *turn, keys, values, places)
    wanted = reference.rotate(q, k, *turn)
    assert torch.equal(made, wanted[0])
    for kept, new in ((keys, wanted[1]), (values, v)):
        assert torch.equal(kept.flatten(0, 1)[places], new)
        kept.flatten(0, 1)[places] = 0
        assert not kept.any()


def test_what_is_no_list_of_tokens_is_refused():
    q, k, v, angles = drawn()
    keys, values = pool().transpose(1, 2)
    with pytest.raises(RuntimeError, match="view"):
        reference.rotate_into_(q, k, v, angles.cos(), angles.sin(), keys, values, torch.arange(N))


def test_a_cpu_is_served_by_the_reference():
    *given, angles = (each.float() for each in drawn())
    turn = angles.cos(), angles.sin()
    made, wanted = (side.rotate(*given[:2], *turn) for side in (op, reference))
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    found = []
    for side in (op, reference):
        keys, values = pool(torch.bfloat16)
        q = side.rotate_into_(*given, *turn, keys, values, torch.arange(N))
        found.append((q, keys, values))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert {each.dtype for each in found[0]} == {torch.bfloat16}


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_are_the_reference(device):
    assert launch("kernel_rope.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernels_unless_somebody_wants_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from foretoken.kernels.rope import triton as kernel

    q, k, _, angles = (each.float().cuda() for each in drawn())
    turn = angles.cos(), angles.sin()
    made, wanted = (side.rotate(q, k, *turn) for side in (op, kernel))
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))
    q.requires_grad_()
    op.rotate(q, k, *turn)[0].sum().backward()
    assert q.grad is not None
