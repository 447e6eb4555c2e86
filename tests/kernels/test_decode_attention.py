"""Attention to blocks of a pool is attention to a row's tokens, and so is the Triton kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import decode_attention as op
from foretoken.kernels.decode_attention import reference
from tests.kernels.common import DEVICES, launch

D = 8


def plain(q, k, v):
    """One row, head by head and query by query: q [T, H, D], k and v [n, K, D] in order."""
    T, H, n = len(q), q.shape[1], len(k)
    out = np.empty(q.shape)
    for t, h in np.ndindex(T, H):
        head = h // (H // k.shape[1])
        end = n - T + t + 1
        scores = k[:end, head] @ q[t, h] / np.sqrt(q.shape[2])
        shares = np.exp(scores - scores.max())
        out[t, h] = shares @ v[:end, head] / shares.sum()
    return out


def drawn(lengths, T, H, K, s):
    """Queries, a pool of NaN but for the rows' tokens, tables, lengths, and rows in order."""
    rng = np.random.default_rng(H)
    needed = [-(-n // s) for n in lengths]
    blocks = rng.permutation(np.arange(1, sum(needed) + 3))
    keys, values = np.full((2, len(blocks) + 1, s, K, D), np.nan)
    tables, rows = np.zeros((len(lengths), max(needed)), np.int64), []
    for b, (n, some) in enumerate(zip(lengths, needed, strict=True)):
        tables[b, :some], blocks = blocks[:some], blocks[some:]
        at = np.arange(n)
        k, v = rng.standard_normal((2, n, K, D))
        keys[tables[b, at // s], at % s], values[tables[b, at // s], at % s] = k, v
        rows.append((k, v))
    q = rng.standard_normal((len(lengths), T, H, D))
    return map(torch.from_numpy, (q, keys, values, tables, np.array(lengths))), rows


@pytest.mark.parametrize("s", [1, 3, 16])
@pytest.mark.parametrize(("H", "K"), [(2, 2), (4, 2), (7, 1)])
@pytest.mark.parametrize(("lengths", "T"), [((1, 1), 1), ((17, 2, 48), 1), ((6, 20), 5)])
def test_the_reference_is_attention_to_a_rows_tokens(lengths, T, H, K, s):
    given, rows = drawn(lengths, T, H, K, s)
    q, *pool = given
    made = reference.decode_attention(q, *pool)
    for mine, its, (k, v) in zip(made, q, rows, strict=True):
        np.testing.assert_allclose(mine, plain(its.numpy(), k, v), rtol=1e-12, atol=1e-12)


def test_a_cpu_is_served_by_the_reference():
    given, _ = drawn((5, 9), 1, 4, 2, 4)
    given = [t.float() if t.is_floating_point() else t for t in given]
    assert torch.equal(op.decode_attention(*given), reference.decode_attention(*given))


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernel_is_the_reference(device):
    assert launch("kernel_decode_attention.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernel_unless_somebody_wants_gradients():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from foretoken.kernels.decode_attention import triton as kernel

    given, _ = drawn((50, 9), 1, 4, 2, 16)
    q, *pool = [t.float().cuda() if t.is_floating_point() else t.cuda() for t in given]
    assert torch.equal(op.decode_attention(q, *pool), kernel.decode_attention(q, *pool))
    q.requires_grad_()
    op.decode_attention(q, *pool).sum().backward()
    assert q.grad is not None
