"""Attention with a cache: step by step as at once, torch's own causal attention as reference."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from foretoken.models.layers.mixers.attention import Attention

B, T, W, H = 3, 17, 24, 3


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return Attention(W, H).eval()


@pytest.fixture
def x():
    return torch.randn(B, T, W, generator=torch.Generator().manual_seed(1))


def lengths(*values):
    return torch.tensor(values)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_scan_is_torchs_causal_attention_of_turned_keys(mixer, x):
    q, k, v = mixer.qkv(x).view(B, T, 3, H, W // H).permute(2, 0, 3, 1, 4)
    pairs = W // H // 2
    angle = torch.arange(T)[:, None] * 10_000.0 ** (-torch.arange(pairs) / pairs)
    turn = torch.polar(torch.ones_like(angle), angle)  # rotations as complex factors
    q, k = (torch.complex(a[..., :pairs], a[..., pairs:]) * turn for a in (q, k))
    q, k = (torch.cat([a.real, a.imag], dim=-1) for a in (q, k))
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    wanted = mixer.out(mixed.transpose(1, 2).reshape(B, T, W))
    close(mixer.scan(x, lengths(T, T, T), mixer.start(B))[0], wanted)
    close(mixer(x), wanted)


@torch.no_grad()
def test_steps_and_parts_give_what_one_scan_gives(mixer, x):
    wanted, whole = mixer.scan(x, lengths(T, T, T), mixer.start(B))
    state, outs = mixer.start(B), []
    for t in range(T):
        out, state = mixer.step(x[:, t], state)
        outs.append(out)
    close(torch.stack(outs, dim=1), wanted)
    for name in ("k", "v"):
        close(state[name][:, :, :T], whole[name])
    first, state = mixer.scan(x[:, :5], lengths(5, 5, 5), mixer.start(B))
    rest, state = mixer.scan(x[:, 5:], lengths(T - 5, T - 5, T - 5), state)
    close(torch.cat([first, rest], dim=1), wanted)
    assert state["n"].tolist() == [[T]] * B


@torch.no_grad()
def test_what_lies_beyond_a_length_changes_nothing_that_follows(mixer, x):
    n = lengths(4, 0, 6)
    spoilt = x[:, :6].clone()
    for row, real in enumerate(n.tolist()):
        spoilt[row, real:] = 1e3
    _, state = mixer.scan(spoilt, n, mixer.start(B))
    assert state["n"][:, 0].tolist() == n.tolist()
    tail = x[:, 10:]
    made, state = mixer.scan(tail, lengths(7, 7, 7), state)
    one, _ = mixer.step(x[:, 9], state)
    for row, real in enumerate(n.tolist()):
        alone = torch.cat([x[row, :real], tail[row], x[row, 9:10]])[None]
        wanted, _ = mixer.scan(alone, lengths(alone.shape[1]), mixer.start(1))
        close(made[row], wanted[0, real:-1])
        close(one[row], wanted[0, -1])


@torch.no_grad()
def test_the_cache_grows_by_doubling(mixer, x):
    state, sizes = mixer.start(B), []
    for t in range(9):
        _, state = mixer.step(x[:, t], state)
        sizes.append(state["k"].shape[2])
    assert sizes == [1, 2, 4, 4, 8, 8, 8, 8, 16]


def test_gradients_of_parts_are_those_of_the_whole(mixer, x):
    mixer.scan(x, lengths(T, T, T), mixer.start(B))[0].square().sum().backward()
    wanted = mixer.qkv.weight.grad.clone()
    mixer.zero_grad()
    first, state = mixer.scan(x[:, :9], lengths(9, 9, 9), mixer.start(B))
    rest, state = mixer.scan(x[:, 9:16], lengths(7, 7, 7), state)
    last, _ = mixer.step(x[:, 16], state)
    total = first.square().sum() + rest.square().sum() + last.square().sum()
    total.backward()
    torch.testing.assert_close(mixer.qkv.weight.grad, wanted, rtol=1e-4, atol=1e-3)
