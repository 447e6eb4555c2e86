"""The delta rule as a mixer: a scan is its steps, padding is nothing, memories recall."""

from __future__ import annotations

import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.layers.mixers.delta import DeltaNet

W, H, F = 16, 2, 4


def made(*, gated, conv=F):
    torch.manual_seed(0)
    return DeltaNet(W, H, conv, gated=gated).double()


def stepped(mixer, x, state):
    outs = []
    for t in range(x.shape[1]):
        out, state = mixer.step(x[:, t], state)
        outs.append(out)
    return torch.stack(outs, dim=1), state


def expect_same(got, wanted):
    assert set(got) == set(wanted)
    for name in wanted:
        torch.testing.assert_close(got[name], wanted[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("T", [1, 2, 33, 70])
def test_a_scan_is_its_steps(gated, T):
    mixer, x = made(gated=gated), torch.randn(3, T, W).double()
    _, before = stepped(mixer, torch.randn(3, 5, W).double(), mixer.start(3))
    wanted, after = stepped(mixer, x, before)
    got, state = mixer.scan(x, torch.full((3,), T), before)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    expect_same(state, after)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 32, 39])
def test_padding_is_nothing(gated, length):
    mixer, x = made(gated=gated), torch.randn(2, 40, W).double()
    _, before = stepped(mixer, torch.randn(2, 5, W).double(), mixer.start(2))
    wanted, after = stepped(mixer, x[:, :length], before) if length else (x[:, :0], before)
    x[:, length:] = 1e3
    got, state = mixer.scan(x, torch.tensor([length, length]), before)
    torch.testing.assert_close(got[:, :length], wanted, rtol=0, atol=1e-12)
    expect_same(state, after)


@pytest.mark.parametrize("gated", [False, True])
def test_the_form_that_is_trained_is_a_scan_from_the_start(gated):
    mixer, x = made(gated=gated), torch.randn(2, 45, W).double().requires_grad_()
    wanted, _ = mixer.scan(x, torch.tensor([45, 45]), mixer.start(2))
    torch.testing.assert_close(mixer(x), wanted, rtol=0, atol=1e-12)
    mixer(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())
    assert x.grad[:, 0].abs().max() > 0


@pytest.mark.parametrize("gated", [False, True])
def test_one_token_over_and_over_stays_finite_in_single_precision(gated):
    mixer = made(gated=gated)
    x = torch.randn(1, 1, W).double().expand(1, 2000, W) * 100
    exact, state = mixer.scan(x, torch.tensor([2000]), mixer.start(1))
    mixer = mixer.float()
    got, rounded = mixer.scan(x.float(), torch.tensor([2000]), mixer.start(1))
    torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rounded["S"].double(), state["S"], rtol=1e-4, atol=1e-4)


def test_a_memory_replaces_what_is_stored_under_a_key():
    """Without gates S is bounded by what goes in, however often: later values win."""
    mixer = made(gated=False)
    with torch.no_grad():
        mixer.rates.weight.zero_()
        mixer.rates.bias.fill_(50.0)  # beta = 1
        x = torch.randn(1, 500, W).double()
        _, state = stepped(mixer, x, mixer.start(1))
        window = torch.cat([torch.zeros(1, F - 1, W).double(), x], dim=1)[:, -F:]
        fresh = mixer.qkv(window).transpose(1, 2)
        mixed = torch.nn.functional.silu((fresh * mixer.conv[:, 0]).sum(-1))
        _, k, v = mixed.view(3, H, W // H)
        k = k / (k.square().sum(-1, keepdim=True) + 1e-6).sqrt()
        read = torch.einsum("hkv,hk->hv", state["S"][0], k)
    # Keys are a little shorter than 1, by the term under their root.
    torch.testing.assert_close(read, v, rtol=1e-3, atol=1e-3)


def test_gates_forget():
    mixer = made(gated=True)
    with torch.no_grad():
        mixer.rates.bias[H:] = -50.0
        _, state = stepped(mixer, torch.randn(1, 4, W).double(), mixer.start(1))
        assert torch.linalg.matrix_rank(state["S"], atol=1e-9).tolist() == [[1] * H]


@pytest.mark.parametrize("conv", [2, 4, 7])
def test_the_state_has_the_shapes_it_says(conv):
    mixer = made(gated=False, conv=conv)
    start = mixer.start(3)
    _, after = mixer.scan(torch.randn(3, 6, W).double(), torch.tensor([1, 0, 6]), start)
    for state in (start, after):
        assert {k: tuple(t.shape[1:]) for k, t in state.items()} == mixer.shapes()
    assert not any(t.any() for t in start.values())
    assert mixer.shapes() == {"S": (H, W // H, W // H), "conv": (3 * W, conv - 1)}


@pytest.mark.parametrize("sizes", [(0, 1, 4), (16, 3, 4), (16, 0, 4), (16, 2, 1)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(InvalidInput, match="multiple of heads"):
        DeltaNet(*sizes)
