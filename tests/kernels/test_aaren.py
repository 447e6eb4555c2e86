"""Aaren: the reference's scan, recurrence and softmax are one, and so are the Triton kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.kernels import aaren as op
from foretoken.kernels.aaren import reference
from tests.kernels.common import DEVICES, launch

RATES = [None, (0.0, 0.1, 3.0)]
B, H, D = 4, 3, 5


def drawn(T, scale=1.0, rates=None, seed=0):
    """Scores, values and rates of decay, in float64."""
    torch.manual_seed(seed)
    scores = scale * torch.randn(B, T, H, dtype=torch.float64)
    values = torch.randn(B, T, H, D, dtype=torch.float64)
    return scores, values, None if rates is None else torch.tensor(rates, dtype=torch.float64)


def start(dtype=torch.float64):
    """The state before the first step."""
    m = torch.full((B, H), reference.NOTHING, dtype=dtype)
    return m, torch.zeros(B, H, dtype=dtype), torch.zeros(B, H, D, dtype=dtype)


def expect_same(made, wanted, bound=1e-12):
    for mine, its in zip(made, wanted, strict=True):
        torch.testing.assert_close(mine, its, rtol=bound, atol=bound)


def everything(T):
    return torch.full((B,), T)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 200.0])
@pytest.mark.parametrize("T", [1, 2, 63, 64, 65, 200])
def test_scan_recurrence_and_softmax_are_one(T, scale, rates):
    scores, values, decay = drawn(T, scale, rates)
    scan = reference.scan(scores, values, None, *start(), decay)
    expect_same(scan, reference.recurrence(scores, values, everything(T), *start(), decay))
    expect_same(scan[:1], [reference.softmax(scores, values, decay)])


@pytest.mark.parametrize("offset", [-200.0, 0.0, 200.0])
def test_one_step_is_its_value_whatever_its_score(offset):
    scores, values, _ = drawn(1)
    for dtype in (torch.float64, torch.float32):
        s, v = (scores + offset).to(dtype), values.to(dtype)
        for side in (reference.scan, reference.recurrence):
            made = side(s, v, everything(1), *start(dtype))
            assert torch.equal(made[0], v)
            assert torch.equal(made[1], s[:, 0])


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_a_score_loses_its_rate_in_every_later_step(scale):
    scores, values, decay = drawn(30, scale, RATES[1])
    last = reference.scan(scores, values, None, *start(), decay)[0][:, -1].numpy()
    age = np.arange(29, -1, -1)[:, None]
    logits = scores.numpy() - np.array(RATES[1]) * age
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = np.einsum("bth,bthd->bhd", weights / weights.sum(axis=1, keepdims=True), values)
    np.testing.assert_allclose(last, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("scale", [1.0, 200.0])
@pytest.mark.parametrize("cuts", [(1,), (64,), (3, 4, 100), (10, 74, 129)])
def test_pieces_are_the_whole(cuts, scale, rates):
    scores, values, decay = drawn(130, scale, rates)
    whole = reference.scan(scores, values, None, *start(), decay)
    state, outs = list(start()), []
    for first, end in zip((0, *cuts), (*cuts, 130), strict=True):
        piece = scores[:, first:end], values[:, first:end]
        if end - first == 1:
            out, *state = reference.step(piece[0][:, 0], piece[1][:, 0], *state, decay)
            out = out[:, None]
        else:
            out, *state = reference.scan(*piece, None, *state, decay)
        outs.append(out)
    expect_same([torch.cat(outs, dim=1), *state], whole)


@pytest.mark.parametrize("rates", RATES)
@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
def test_what_lies_after_length_changes_nothing(monkeypatch, chunk, rates):
    monkeypatch.setattr(reference, "CHUNK", chunk)
    scores, values, decay = drawn(130, 1.0, rates)
    length = torch.tensor([130, 64, 0, 9])
    state = reference.scan(scores, values, None, *start(), decay)[1:]
    made = reference.scan(scores, values, length, *state, decay)
    expect_same(made[1:], reference.recurrence(scores, values, length, *state, decay)[1:])
    real = (torch.arange(130) < length[:, None])[..., None]
    scores = scores.where(real, 1e6)
    values = values.where(real[..., None], -1e6)
    again = reference.scan(scores, values, length, *state, decay)
    assert torch.isfinite(again[0]).all()
    assert all(torch.equal(a, b) for a, b in zip(again[1:], made[1:], strict=True))
    assert torch.equal(again[0].where(real[..., None], 0), made[0].where(real[..., None], 0))
    assert torch.equal(again[1][2], state[0][2])


@pytest.mark.parametrize("rates", RATES)
def test_gradients_are_those_of_the_recurrence(rates):
    scores, values, decay = drawn(70, 1.0, rates)
    m, u, w = reference.scan(*drawn(9, seed=1)[:2], None, *start())[1:]
    length = torch.tensor([70, 64, 3, 69])
    real = (torch.arange(70) < length[:, None])[..., None, None]
    given = [t.requires_grad_() for t in (scores, values, m, u, w, decay) if t is not None]
    found = []
    for side in (reference.scan, reference.recurrence):
        out, *state = side(scores, values, length, m, u, w, decay)
        torch.manual_seed(2)
        # Of the state, what does not depend on the score that sums are relative to.
        made = [out.where(real, 0), state[2] / state[1][..., None], state[0] + state[1].log()]
        loss = sum((t * torch.randn(t.shape, dtype=t.dtype)).sum() for t in made)
        found.append(torch.autograd.grad(loss, given))
    expect_same(*found, bound=1e-10)


def test_slots_are_stepped_and_scanned_in_place():
    scores, values, decay = drawn(20, 1.0, RATES[1])
    pools = [torch.randn(9, 2, *t.shape[1:], dtype=torch.float64).exp() for t in start()]
    before = [pool.clone() for pool in pools]
    layer, slots = [pool[:, 1] for pool in pools], torch.tensor([8, 0, 5, 2])
    first = [pool[slots] for pool in layer]
    wanted = op.step(scores[:, 0], values[:, 0], *first, decay)
    out = op.step_(scores[:, 0], values[:, 0], *layer, slots, decay)
    expect_same([out, *(pool[slots] for pool in layer)], wanted, bound=0)
    length = torch.tensor([20, 3, 0, 7])
    wanted = op.scan(scores, values, length, *wanted[1:], decay)
    out = op.scan_(scores, values, length, *layer, slots, decay)
    expect_same([out, *(pool[slots] for pool in layer)], wanted, bound=0)
    for pool, old in zip(pools, before, strict=True):
        pool[slots, 1] = old[slots, 1]
        assert torch.equal(pool, old)


def test_autocast_rounds_no_sum():
    scores, values, _ = drawn(100)
    scores, values = scores.float(), values.bfloat16()
    wanted = reference.scan(scores, values, None, *start(torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        made = reference.scan(scores, values, None, *start(torch.float32))
    assert [t.dtype for t in made] == [torch.bfloat16] + [torch.float32] * 3
    assert all(torch.equal(a, b) for a, b in zip(made, wanted, strict=True))


class Scan(torch.nn.Module):
    def forward(self, scores, values, length, m, u, w, decay):
        return op.scan(scores, values, length, m, u, w, decay)


def test_an_exported_scan_takes_any_batch_and_length_and_large_scores():
    from tests.kernels.exported import run

    dims = [("B", "T"), ("B", "T"), ("B",), ("B",), ("B",), ("B",), ()]
    small = (torch.zeros(3, 2, H), torch.zeros(3, 2, H, D), torch.tensor([2, 1, 2]))
    traced = (*small, *(t[:3] for t in start(torch.float32)), torch.zeros(H))
    decay = torch.tensor(RATES[1])
    cases = []
    for T, scale, length in ((1, 1, 1), (70, 200, 70), (150, 0, 64), (30, -200, 7)):
        scores, values, _ = drawn(T, scale)
        lengths = torch.tensor([T, length, 0, 1])
        cases.append((scores.float(), values.float(), lengths, *start(torch.float32), decay))
    for given, made in zip(cases, run(Scan(), traced, dims, cases), strict=True):
        wanted = reference.scan(*given)
        real = (torch.arange(given[0].shape[1]) < given[2][:, None])[..., None, None]
        expect_same([made[0].where(real, 0)], [wanted[0].where(real, 0)], bound=1e-4)
        expect_same(made[1:], wanted[1:], bound=1e-4)


@pytest.mark.parametrize("device", DEVICES)
def test_the_kernels_are_the_reference(device):
    assert launch("kernel_aaren.py", device) > 30


@pytest.mark.gpu
def test_a_gpu_is_served_by_the_kernels_unless_somebody_wants_gradients():
    from foretoken.kernels.aaren import triton as kernel

    scores, values, _ = drawn(40)
    given = [t.float().cuda() for t in (scores, values, *start())]
    made = op.scan(*given[:2], None, *given[2:])
    assert torch.equal(made[0], kernel.scan(*given[:2], None, *given[2:])[0])
    given[1].requires_grad_()
    op.scan(*given[:2], None, *given[2:])[0].sum().backward()
    assert given[1].grad is not None
