"""Context attention: the reference against NumPy, and the Triton kernel against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import context_attention as op
from foretoken.kernels.context_attention import fused, reference
from tests.kernels.common import DEVICES, launch


def plain(q, k, v, n):
    """One row of one head at a time, in float64."""
    B, H, M, _ = q.shape
    out = np.empty_like(q)
    for b, h, m in np.ndindex(B, H, M):
        shared = h // (H // k.shape[1])
        scores = k[b, shared, : n[b]] @ q[b, h, m]
        weights = np.exp(scores - scores.max())
        out[b, h, m] = weights / weights.sum() @ v[b, shared, : n[b]]
    return out


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("n", [(1, 7), (9, 9)])
@pytest.mark.parametrize("fresh", [False, True])
def test_the_reference_is_attention_to_the_first_n_keys(heads, scale, n, fresh):
    rng = np.random.default_rng(heads)
    q = rng.standard_normal((2, 4, 3, 8)) * scale
    k, v = rng.standard_normal((2, 2, heads, 9, 8))
    tensors = map(torch.from_numpy, (q, k, v))
    made = reference.context_attention(*tensors, torch.tensor(n), fresh=fresh)
    np.testing.assert_allclose(made.numpy(), plain(q, k, v, n), rtol=1e-12, atol=1e-12)


def test_a_trace_holds_the_mask_though_nothing_is_padded():
    class Attention(torch.nn.Module):
        def forward(self, q, k, v, n):
            return op.context_attention(q, k, v, n)

    q, k, v = torch.randn(3, 2, 2, 5, 4)
    program = torch.export.export(Attention(), (q, k, v, torch.tensor([5, 5])))
    n = torch.tensor([1, 3])
    made = program.module()(q, k, v, n)
    torch.testing.assert_close(made, reference.context_attention(q, k, v, n))
    assert not torch.allclose(made, reference.context_attention(q, k, v, torch.tensor([5, 5])))


def test_a_cpu_is_served_by_the_reference():
    q, k, v = torch.randn(3, 1, 2, 3, 4)
    n = torch.tensor([2])
    assert torch.equal(op.context_attention(q, k, v, n), reference.context_attention(q, k, v, n))


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("n", [(1, 7), (9, 9)])
@pytest.mark.parametrize("rows", [1, 3, 200])  # blocks are of other sizes
def test_the_fused_kernel_is_the_reference(rows, heads, scale, n):
    rng = np.random.default_rng(heads)
    q = torch.from_numpy(rng.standard_normal((2, 4, rows, 8)) * scale)
    k, v = map(torch.from_numpy, rng.standard_normal((2, 2, heads, 9, 8)))
    made = fused.context_attention(q, k, v, torch.tensor(n))
    wanted = reference.context_attention(q, k, v, torch.tensor(n))
    torch.testing.assert_close(made, wanted, rtol=1e-12, atol=1e-12)
    narrow = [each.bfloat16() for each in (q / scale, k, v)]
    made = fused.context_attention(*narrow, torch.tensor(n))
    wanted = reference.context_attention(*(each.double() for each in narrow), torch.tensor(n))
    assert (made - wanted).norm() / wanted.norm() < 0.005


def test_the_fused_kernel_has_the_gradients_of_the_reference():
    given = torch.randn(3, 2, 4, 9, 8, dtype=torch.float64, requires_grad=True)
    n = torch.tensor([3, 9])
    for real in (n, None):
        made = [op_.context_attention(*given, real).square().sum() for op_ in (fused, reference)]
        mine, theirs = (torch.autograd.grad(each, given)[0] for each in made)
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.gpu
def test_a_gpu_has_gradients_of_the_reference_under_autocast():
    given = torch.randn(3, 2, 4, 90, 64, device="cuda")
    given[0] *= 64**-0.5  # else scores are so large that rounding them alone is 2 % of the gradient
    given.requires_grad_()
    n = torch.tensor([30, 90], device="cuda")
    for real in (n, None):
        with torch.autocast("cuda", torch.bfloat16):
            made = op.context_attention(*given.bfloat16(), real).float().square().sum()
        wanted = reference.context_attention(*given.double(), real).square().sum()
        mine, theirs = (torch.autograd.grad(each, given)[0].double() for each in (made, wanted))
        assert (mine - theirs).norm() / theirs.norm() < 0.02


def test_all_keys_are_real_where_nobody_says_how_many():
    q, k, v = torch.randn(3, 2, 4, 9, 8)
    wanted = reference.context_attention(q, k, v, torch.tensor([9, 9]))
    assert torch.equal(op.context_attention(q, k, v, None), wanted)


@pytest.mark.parametrize("told", [{"amx_bf16": True}, {}])
def test_bfloat16_is_served_by_the_fused_kernel_where_there_are_tiles(monkeypatch, told):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    q, k, v = torch.randn(3, 1, 2, 40, 16, dtype=torch.bfloat16)
    n = torch.tensor([40])
    by = fused.context_attention if told else reference.context_attention
    assert torch.equal(op.context_attention(q, k, v, n), by(q, k, v, n))
    assert not fused.serves(q.float())


@pytest.mark.parametrize("n", [(90, 90), (17, 90)])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_blocks_of_rows_are_the_whole(monkeypatch, heads, fresh, n):
    monkeypatch.setattr(reference, "BLOCK", 1)
    monkeypatch.setattr(reference, "LEAST", 7)
    rng = np.random.default_rng(heads)
    q = rng.standard_normal((2, 4, 30, 8))
    k, v = rng.standard_normal((2, 2, heads, 90, 8))
    with torch.inference_mode():
        q_, k_, v_ = map(torch.from_numpy, (q, k, v))
        made = reference.context_attention(q_, k_, v_, torch.tensor(n), fresh=fresh)
    np.testing.assert_allclose(made.numpy(), plain(q, k, v, n), rtol=1e-12, atol=1e-12)


def test_scores_are_never_whole_where_they_are_large():
    q, k, v = torch.randn(3, 1, 4, 1500, 8)
    with torch.inference_mode():
        n = torch.tensor([1500])
        blocks = reference._blocks(q, 1500)
        made = reference.context_attention(q, k, v, n)
    assert all(b.shape[2] * 4 * 1500 * 4 <= reference.BLOCK for b in blocks)
    assert sum(b.shape[2] for b in blocks) == 1500
    torch.testing.assert_close(made, reference.context_attention(q, k, v, n))


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_is_the_reference(device):
    assert launch("kernel_context_attention.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernel_unless_somebody_wants_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from foretoken.kernels.context_attention import triton as kernel

    q, k, v = torch.randn(3, 1, 2, 300, 32, device="cuda")
    n = torch.tensor([170], device="cuda")
    made = op.context_attention(q, k, v, n)
    assert torch.equal(made, kernel.context_attention(q, k, v, n))
    q.requires_grad_()
    op.context_attention(q, k, v, n).sum().backward()
    assert q.grad is not None
