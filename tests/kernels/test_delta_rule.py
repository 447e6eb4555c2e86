"""The delta rule: chunks and the recurrence are one, and so are the Triton kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from foretoken.kernels import delta_rule as op
from foretoken.kernels.delta_rule import reference
from tests.kernels.common import DEVICES, doubled, launch

B, H, K, V = 4, 2, 8, 6
GATES = [None, 0.0, 3.0, 1e4]  # the largest −g; None: without a gate


def drawn(T, gate=None, seed=0, repeated=False):
    """q, k, v, beta, g and S, in float64."""
    torch.manual_seed(seed)
    q, k = torch.randn(2, B, T, H, K, dtype=torch.float64)
    k = k[:, :1].expand_as(k) if repeated else k
    v = torch.randn(B, T, H, V, dtype=torch.float64)
    beta = 2 * torch.rand(B, T, H, dtype=torch.float64)
    g = None if gate is None else -gate * torch.rand(B, T, H, dtype=torch.float64)
    return q, normalize(k, dim=-1), v, beta, g, torch.randn(B, H, K, V, dtype=torch.float64)


def cut(given, first, end):
    return [None if t is None else t[:, first:end] for t in given]


def expect_same(made, wanted, bound=1e-12):
    for mine, its in zip(made, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=bound, atol=bound)


@pytest.mark.parametrize("gate", GATES)
def test_a_step_is_the_papers_product_of_matrices(gate):
    q, k, v, beta, g, S = drawn(1, gate)
    o, after = reference.step(*[t[:, 0] if t is not None else None for t in (q, k, v, beta, g)], S)
    for b, h in np.ndindex(B, H):
        key = k[b, 0, h].numpy()
        kept = 1.0 if g is None else np.exp(g[b, 0, h].item())
        rate = beta[b, 0, h].item()
        old = kept * (np.eye(K) - rate * np.outer(key, key)) @ S[b, h].numpy()
        new = old + rate * np.outer(key, v[b, 0, h])
        np.testing.assert_allclose(after[b, h], new, rtol=1e-12, atol=1e-12)
        read = new.T @ q[b, 0, h].numpy() / np.sqrt(K)
        np.testing.assert_allclose(o[b, h], read, rtol=1e-12, atol=1e-12)


def test_what_is_stored_under_a_key_is_found_and_replaced():
    keys = torch.eye(K, dtype=torch.float64)
    values = torch.randn(2, K, V, dtype=torch.float64)
    k = torch.cat([keys, keys])[None, :, None]
    v, beta = values.reshape(1, 2 * K, 1, V), torch.ones(1, 2 * K, 1, dtype=torch.float64)
    S = torch.zeros(1, 1, K, V, dtype=torch.float64)
    o, S = reference.chunk(k * K**0.5, k, v, beta, None, None, S)
    expect_same([o, S[0, 0]], [v, values[1]])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("T", [1, 2, 31, 32, 33, 130])
def test_chunks_and_recurrence_are_one(T, repeated, gate):
    *given, S = drawn(T, gate, repeated=repeated)
    made = reference.chunk(*given, None, S)
    expect_same(made, reference.recurrence(*given, torch.full((B,), T), S), bound=1e-11)


@pytest.mark.parametrize("repeated", [False, True])
def test_float32_keeps_its_digits_though_all_keys_are_the_same(repeated):
    q, k, v, beta, _, S = drawn(256, repeated=repeated)
    given = [t.float() for t in (q, k, v, beta / 2)]
    made = reference.chunk(*given, None, None, S.float())
    wanted = reference.chunk(*doubled(*given), None, None, S.float().double())
    for mine, its in zip(made, wanted, strict=True):
        assert (mine - its).norm() / its.norm() < 1e-6


@pytest.mark.parametrize("C", [1, 2, 7, 32, 50])
def test_the_inverse_is_one(C):
    torch.manual_seed(C)
    A = torch.randn(3, C, C, dtype=torch.float64).tril(-1) / C**0.5
    eye = torch.eye(C, dtype=torch.float64)
    expect_same([reference.inverse(A) @ (eye + A)], [eye.expand(3, C, C)])
    ones = torch.ones(C, C).tril(-1)  # a series of its powers would lose all digits of float32
    assert torch.equal(reference.inverse(ones) @ (torch.eye(C) + ones), torch.eye(C))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("cuts", [(1,), (32,), (3, 4, 100), (10, 42, 129)])
def test_pieces_are_the_whole(cuts, gate):
    *given, S = drawn(130, gate)
    whole = reference.chunk(*given, None, S)
    outs = []
    for first, end in zip((0, *cuts), (*cuts, 130), strict=True):
        piece = cut(given, first, end)
        if end - first == 1:
            o, S = reference.step(*[None if t is None else t[:, 0] for t in piece], S)
            o = o[:, None]
        else:
            o, S = reference.chunk(*piece, None, S)
        outs.append(o)
    expect_same([torch.cat(outs, dim=1), S], whole, bound=1e-11)


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("chunk", [1, 7, 32, 1000])
def test_what_lies_after_length_changes_nothing(monkeypatch, chunk, gate):
    monkeypatch.setattr(reference, "CHUNK", chunk)
    *given, S = drawn(70, gate)
    length = torch.tensor([70, 32, 0, 9])
    made = reference.chunk(*given, length, S)
    expect_same(made[1:], reference.recurrence(*given, length, S)[1:], bound=1e-11)
    assert torch.equal(made[1][2], S[2])
    real = torch.arange(70) < length[:, None]
    other = drawn(70, gate, seed=1)[:-1]
    mixed = [
        None if t is None else t.where(real.reshape(B, 70, *[1] * (t.ndim - 2)), o)
        for t, o in zip(given, other, strict=True)
    ]
    again = reference.chunk(*mixed, length, S)
    assert torch.isfinite(again[0]).all()
    expect_same([again[0][real], again[1]], [made[0][real], made[1]])


@pytest.mark.parametrize("gate", GATES)
def test_gradients_are_those_of_the_recurrence(gate):
    *given, S = drawn(70, gate)
    length = torch.tensor([70, 32, 3, 69])
    real = (torch.arange(70) < length[:, None])[..., None, None]
    asked = [t.requires_grad_() for t in (*given, S) if t is not None]
    found = []
    for side in (reference.chunk, reference.recurrence):
        o, after = side(*given, length, S)
        torch.manual_seed(2)
        made = [o.where(real, 0), after]
        loss = sum((t * torch.randn(t.shape, dtype=t.dtype)).sum() for t in made)
        found.append(torch.autograd.grad(loss, asked))
    expect_same(*found, bound=1e-10)


def test_slots_are_stepped_and_chunked_in_place():
    *given, _ = drawn(20, 3.0)
    pool = torch.randn(9, 2, H, K, V, dtype=torch.float64)
    before, layer, slots = pool.clone(), pool[:, 1], torch.tensor([8, 0, 5, 2])
    one = [t[:, 0] for t in given]
    wanted = op.step(*one, layer[slots])
    out = op.step_(*one, layer, slots)
    expect_same([out, layer[slots]], wanted, bound=0)
    length = torch.tensor([20, 3, 0, 7])
    wanted = op.chunk(*given, length, wanted[1])
    out = op.chunk_(*given, length, layer, slots)
    expect_same([out, layer[slots]], wanted, bound=0)
    pool[slots, 1] = before[slots, 1]
    assert torch.equal(pool, before)


def test_autocast_rounds_no_sum():
    *given, S = drawn(70, 3.0)
    given, S = [t.bfloat16() for t in given], S.float()
    one = [t[:, 0] for t in given]
    wanted = [*reference.chunk(*given, None, S), *reference.step(*one, S)]
    with torch.autocast("cpu", torch.bfloat16):
        made = [*reference.chunk(*given, None, S), *reference.step(*one, S)]
    assert [t.dtype for t in made] == [torch.bfloat16, torch.float32] * 2
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


class Chunk(torch.nn.Module):
    def forward(self, q, k, v, beta, g, length, S):
        o, S = op.chunk(q, k, v, beta, None, length, S)
        again, S = op.chunk(q, k, v + o, beta, g, length, S)
        return again, S


def test_exported_chunks_take_any_batch_and_length():
    from tests.kernels.exported import run

    def given(T, gate, length, repeated):
        *tensors, S = drawn(T, gate, seed=T, repeated=repeated)
        lengths = torch.tensor([T, length, 0, 1])
        return [*(t.float() for t in tensors), lengths, S.float()]

    traced = [t[:3] for t in given(70, 1.0, 1, False)]
    dims = [("B", "T")] * 5 + [("B",)] * 2
    cases = [given(1, 0.0, 1, False), given(130, 1e4, 64, True), given(32, 3.0, 7, True)]
    for case, made in zip(cases, run(Chunk(), traced, dims, cases), strict=True):
        wanted = Chunk()(*case)
        real = torch.arange(case[0].shape[1]) < case[5][:, None]
        expect_same([made[0][real], made[1]], [wanted[0][real], wanted[1]], bound=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_are_the_reference(device):
    assert launch("kernel_delta_rule.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernels_unless_somebody_wants_gradients():
    from foretoken.kernels.delta_rule import triton as kernel

    *given, S = (t.float().cuda() for t in drawn(40, 3.0))
    made = op.chunk(*given, None, S)
    assert torch.equal(made[0], kernel.chunk(*given, None, S)[0])
    S.requires_grad_()
    op.chunk(*given, None, S)[0].sum().backward()
    assert S.grad is not None
