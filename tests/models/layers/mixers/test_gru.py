"""The GRU mixer is torch's GRU, at once and step by step."""

import pytest
import torch

from foretoken.models.layers.mixers.gru import GRU

B, T, W = 3, 11, 8


@pytest.fixture
def mixer():
    torch.manual_seed(0)
    return GRU(W).eval()


@pytest.fixture
def x():
    return torch.randn(B, T, W, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_scan_and_steps_are_torchs_gru(mixer, x):
    reference = torch.nn.GRU(W, W, batch_first=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    for name in names:
        getattr(reference, name).copy_(getattr(mixer.cell, name))
    before = torch.randn(B, W, generator=torch.Generator().manual_seed(2))
    wanted, last = reference(x, before[None])
    made, after = mixer.scan(x, torch.full((B,), T), {"h": before})
    torch.testing.assert_close(made, wanted)
    torch.testing.assert_close(after["h"], last[0])
    torch.testing.assert_close(mixer(x), reference(x)[0])
    state = {"h": before}
    for t in range(T):
        out, state = mixer.step(x[:, t], state)
        torch.testing.assert_close(out, wanted[:, t], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_what_lies_beyond_a_length_leaves_the_state_alone(mixer, x):
    length = torch.tensor([4, 0, T])
    _, after = mixer.scan(x, length, mixer.start(B))
    for row, real in enumerate(length.tolist()):
        state = mixer.start(1)
        for t in range(real):
            _, state = mixer.step(x[row : row + 1, t], state)
        torch.testing.assert_close(after["h"][row], state["h"][0], rtol=1e-5, atol=1e-6)


def test_the_state_is_of_one_size_and_keeps_gradients(mixer, x):
    assert mixer.shapes() == {"h": (W,)}
    assert mixer.start(B)["h"].shape == (B, W)
    _, state = mixer.scan(x, torch.full((B,), T), mixer.start(B))
    mixer.step(x[:, 0], state)[0].sum().backward()
    assert mixer.cell.weight_ih_l0.grad.abs().sum() > 0
