"""Aaren's mixer: the paper's size, one function in three forms, state at all times finite."""

from __future__ import annotations

import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.layers.mixers.aaren import SPREAD, Aaren, geometric
from foretoken.models.layers.stack import Block, Stack


def mixers():
    torch.manual_seed(0)
    return [
        Aaren(16, 4),
        Aaren(16, 4, folded=False),
        Aaren(16, 4, geometric(4)),
        Aaren(16, 1, [0.25]),
    ]


def steps(mixer, x, state):
    outs = []
    for t in range(x.shape[1]):
        out, state = mixer.step(x[:, t], state)
        outs.append(out)
    return torch.stack(outs, dim=1), state


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_the_papers_layer_has_as_many_parameters_as_it_says():
    block = Block(512, 2048, Aaren(512, 8, folded=False))
    assert parameters(block) == 3_152_384 + 512


def test_folding_leaves_out_what_multiplies_out():
    whole, folded = Aaren(16, 4, folded=False), Aaren(16, 4)
    W = 16
    with torch.no_grad():
        q = whole.query @ whole.qkv.weight[:W].T + whole.qkv.bias[:W]
        keys = (q[:, None] * whole.qkv.weight[W : 2 * W]).view(4, 4, W).sum(1) / 2
        bias = (q * whole.qkv.bias[W : 2 * W]).view(4, 4).sum(1) / 2
        folded.score_value.weight.copy_(torch.cat([keys, whole.qkv.weight[2 * W :]]))
        folded.score_value.bias.copy_(torch.cat([bias, whole.qkv.bias[2 * W :]]))
        folded.out.load_state_dict(whole.out.state_dict())
        x = torch.randn(2, 9, W)
        torch.testing.assert_close(folded(x), whole(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("i", range(4))
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_scan_steps_and_training_are_one_function(i, scale):
    mixer = mixers()[i]
    x = scale * torch.randn(3, 150, 16)
    length = torch.tensor([150, 1, 70])
    with torch.no_grad():
        scanned, after = mixer.scan(x, length, mixer.start(3))
        trained = mixer(x)
        for row, n in enumerate(length):
            state = {k: v[row : row + 1] for k, v in mixer.start(3).items()}
            stepped, state = steps(mixer, x[row : row + 1, :n], state)
            scope = {"rtol": 1e-5, "atol": 1e-5 * max(scale, 1)}
            torch.testing.assert_close(scanned[row, :n], stepped[0], **scope)
            torch.testing.assert_close(trained[row, :n], stepped[0], **scope)
            for name, tensor in state.items():
                torch.testing.assert_close(after[name][row], tensor[0], **scope)


def test_far_apart_scores_are_learned_from_too():
    mixer = Aaren(16, 4)
    with torch.no_grad():
        mixer.score_value.weight[:4].mul_(100)
    x = torch.randn(2, 40, 16)
    scores, _ = mixer._project(x)
    assert scores.max() - scores.min() > SPREAD
    made = mixer(x)
    made.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())
    with torch.no_grad():
        torch.testing.assert_close(made, steps(mixer, x, mixer.start(2))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("folded", [True, False])
def test_gradients_are_those_of_the_scan(folded):
    torch.manual_seed(1)
    mixer = Aaren(16, 4, geometric(4), folded=folded)
    x = torch.randn(2, 150, 16)
    mixer(x).square().sum().backward()
    mine = [p.grad.clone() for p in mixer.parameters()]
    mixer.zero_grad()
    mixer.scan(x, torch.tensor([150, 150]), mixer.start(2))[0].square().sum().backward()
    for p, g in zip(mixer.parameters(), mine, strict=True):
        torch.testing.assert_close(g, p.grad, rtol=1e-4, atol=1e-4 * float(p.grad.abs().max()))


def test_a_scan_goes_on_where_another_ended():
    mixer = mixers()[2]
    x = torch.randn(2, 30, 16)
    whole, after = mixer.scan(x, torch.tensor([30, 30]), mixer.start(2))
    first, state = mixer.scan(x[:, :11], torch.tensor([11, 11]), mixer.start(2))
    rest, state = mixer.scan(x[:, 11:], torch.tensor([19, 19]), state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    torch.testing.assert_close(state, after)


def test_a_head_forgets_at_its_rate():
    mixer = Aaren(16, 4, [0.0, 0.1, 1.0, 10.0])
    with torch.no_grad():
        mixer.score_value.weight[:4] = 0  # all scores are alike: nothing but age weighs
        x = torch.randn(1, 5, 16)
        _, values = mixer._project(x)
        _, state = mixer.scan(x, torch.tensor([5]), mixer.start(1))
        made = state["w"] / state["u"][..., None]
        weights = torch.exp(-torch.arange(4.0, -1, -1)[:, None] * mixer.decay)
        wanted = (weights[..., None] * values[0]).sum(0) / weights.sum(0)[:, None]
    torch.testing.assert_close(made[0], wanted)


def test_a_million_steps_leave_the_state_finite():
    mixer = mixers()[2]
    state, x = mixer.start(1), torch.randn(1, 1000, 16)
    length = torch.tensor([1000])
    with torch.no_grad():
        for _ in range(1000):
            out, state = mixer.scan(x, length, state)
    assert out.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert {k: v.shape[1:] for k, v in state.items()} == mixer.shapes()


@pytest.mark.parametrize("given", [[0.1], [0.1, -1.0], [0.1, float("nan")], [0.1, float("inf")]])
def test_decays_are_one_for_each_head_and_never_below_nothing(given):
    with pytest.raises(InvalidInput, match="2 rates from 0 to 1000"):
        Aaren(16, 2, given)


def test_the_width_is_a_multiple_of_the_heads():
    with pytest.raises(InvalidInput, match="not a multiple of 3 heads"):
        Aaren(16, 3)


def test_a_stack_keeps_the_state_of_all_layers_in_one_tensor_of_each_name():
    torch.manual_seed(0)
    stack = Stack(16, 3, 32, lambda _: Aaren(16, 4, geometric(4)))
    x = torch.randn(2, 9, 16)
    with torch.no_grad():
        scanned, after = stack.scan(x, torch.tensor([9, 9]), stack.start(2))
        stepped, state = steps(stack, x, stack.start(2))
        torch.testing.assert_close(stepped, scanned, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(stack(x), scanned, rtol=1e-5, atol=1e-5)
    assert {k: tuple(v.shape) for k, v in after.items()} == {
        "m": (2, 12),
        "u": (2, 12),
        "w": (2, 12, 4),
    }
    for name, tensor in state.items():
        torch.testing.assert_close(after[name], tensor, rtol=1e-5, atol=1e-5)
