"""The network against the authors' outputs, a plain float64 reference, and the laws of batching."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from foretoken.errors import InvalidInput
from foretoken.models.lcpfn.model import LCPFN, LCPFNConfig, from_official

PARITY = Path(__file__).parents[4] / "shared/data/parity/lcpfn_small_random.npz"
SMALL = LCPFNConfig(width=24, layers=2, heads=3, mlp=40, bars=7)


def random_model(config=SMALL, dtype=torch.float64):
    """Blocks start as the identity, so every parameter is drawn anew for a test."""
    torch.manual_seed(0)
    model = LCPFN(config).to(dtype)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def naive_forward(model, steps, values, at):
    """One curve, one token at a time, an explicit (N + Q) x (N + Q) mask; logits [Q, K]."""
    c, w = model.config, dict(model.named_parameters())
    std = math.sqrt(1 / 12)
    N, T = len(steps), len(steps) + len(at)
    tokens = []
    for i in range(T):
        x = (float(steps[i] if i < N else at[i - N]) / 101 - 0.5) / std
        token = w["embed_step.weight"][:, 0] * x + w["embed_step.bias"]
        if i < N:
            y = (float(values[i]) - 0.5) / std
            token = token + w["embed_value.weight"][:, 0] * y + w["embed_value.bias"]
        tokens.append(token)
    h = torch.stack(tokens)
    allowed = torch.zeros(T, T, dtype=torch.bool)
    allowed[:, :N] = True
    allowed |= torch.eye(T, dtype=torch.bool)

    def norm(h, name):
        return layer_norm(h, (c.width,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(h, name):
        return h @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def attend(h, b):
        q, k, v = linear(h, f"{b}.qkv").split(c.width, dim=-1)
        D, heads = c.width // c.heads, []
        for j in range(c.heads):
            part = slice(j * D, (j + 1) * D)
            scores = q[:, part] @ k[:, part].T / math.sqrt(D)
            heads.append(scores.masked_fill(~allowed, -math.inf).softmax(-1) @ v[:, part])
        return linear(torch.cat(heads, -1), f"{b}.out")

    def mlp(h, b):
        return linear(gelu(linear(h, f"{b}.mlp_in")), f"{b}.mlp_out")

    for i in range(c.layers):
        b = f"blocks.{i}"
        if c.norm_first:
            h = h + attend(norm(h, f"{b}.norm_attention"), b)
            h = h + mlp(norm(h, f"{b}.norm_mlp"), b)
        else:
            h = norm(h + attend(h, b), f"{b}.norm_attention")
            h = norm(h + mlp(h, b), f"{b}.norm_mlp")
    h = norm(h[N:], "final_norm") if c.norm_first else h[N:]
    return linear(gelu(linear(h, "head_in")), "head_out")


def prompts(B, N, Q, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    order = torch.rand(B, 100, generator=g).argsort(dim=1) + 1
    steps, at = order[:, :N].sort(dim=1).values, order[:, N : N + Q]
    values = torch.rand(B, N, generator=g)
    return steps.to(dtype), values.to(dtype), at.to(dtype)


@pytest.mark.skipif(not PARITY.exists(), reason="../shared/data/parity is not there")
@pytest.mark.parametrize("cutoff", [5, 10, 20, 50])
def test_logits_equal_the_authors(cutoff):
    data = np.load(PARITY)
    state = {k[3:]: torch.from_numpy(data[k]) for k in data.files if k.startswith("sd/")}
    model = LCPFN(LCPFNConfig(width=64, layers=2, heads=2, mlp=128, bars=100)).eval()
    model.load_state_dict(from_official(state))
    y = torch.from_numpy(data[f"fwd/c{cutoff}/y"]).T
    x = torch.arange(1.0, 101).expand(len(y), -1)
    with torch.no_grad():
        logits = model(x[:, :cutoff], y, torch.full((len(y),), cutoff), x[:, cutoff:])
    wanted = torch.from_numpy(data[f"fwd/c{cutoff}/logits"]).transpose(0, 1)
    assert (logits - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("N", "Q"), [(1, 1), (0, 3), (9, 5), (40, 60)])
def test_forward_equals_the_naive_reference(norm_first, N, Q):
    config = LCPFNConfig(width=24, layers=2, heads=3, mlp=40, bars=7, norm_first=norm_first)
    model = random_model(config)
    steps, values, at = prompts(3, N, Q)
    with torch.no_grad():
        logits = model(steps, values, torch.full((3,), N), at)
        for b in range(3):
            torch.testing.assert_close(logits[b], naive_forward(model, steps[b], values[b], at[b]))


def test_padding_changes_nothing():
    model = random_model()
    steps, values, at = prompts(4, 12, 6)
    n = torch.tensor([12, 7, 1, 0])
    garbage = torch.arange(12) >= n[:, None]
    with torch.no_grad():
        logits = model(steps, values, n, at)
        other = model(steps.masked_fill(garbage, 55.5), values.masked_fill(garbage, -1e4), n, at)
        torch.testing.assert_close(other, logits, rtol=0, atol=0)
        for b in range(4):
            short = slice(b, b + 1), slice(0, int(n[b]))
            alone = model(steps[short], values[short], n[b : b + 1], at[b : b + 1])
            torch.testing.assert_close(alone, logits[b : b + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_row_equals_single_row(dtype):
    model = random_model(dtype=dtype)
    steps, values, at = prompts(5, 10, 8, dtype)
    n = torch.tensor([10, 3, 8, 0, 10])
    with torch.no_grad():
        logits = model(steps, values, n, at)
        for b in range(5):
            row = slice(b, b + 1)
            alone = model(steps[row], values[row], n[row], at[row])
            assert (alone - logits[row]).abs().max() < 1e-5


def test_queries_do_not_see_each_other_and_points_have_no_order():
    model = random_model()
    steps, values, at = prompts(2, 9, 6)
    n = torch.full((2,), 9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(steps, values, n, at)
        torch.testing.assert_close(model(steps, values, n, at[:, 2:3]), logits[:, 2:3])
        torch.testing.assert_close(model(steps[:, order], values[:, order], n, at), logits)


def test_an_empty_prompt_is_finite_in_half_precision_too():
    model = random_model(dtype=torch.float32)
    steps, values, at = prompts(2, 4, 3, torch.float32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = model(steps, values, torch.tensor([0, 2]), at)
    assert logits.isfinite().all()


def test_a_fresh_model_is_the_identity_between_embedding_and_head():
    model = LCPFN(LCPFNConfig(width=24, layers=2, heads=3, mlp=40, bars=7, norm_first=True))
    steps, values, at = prompts(2, 4, 3, torch.float32)
    with torch.no_grad():
        a = model(steps, values, torch.full((2,), 4), at)
        b = model(steps, 1 - values, torch.full((2,), 4), at)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("change", [{"width": 25}, {"bars": 1}, {"layers": 0}, {"mlp": -1}])
def test_impossible_sizes_are_refused(change):
    with pytest.raises(InvalidInput, match="must be positive"):
        LCPFNConfig(**{"width": 24, "heads": 3, **change})


def test_borders_and_foreign_names_are_checked():
    with pytest.raises(InvalidInput, match="borders"):
        LCPFN(SMALL, torch.linspace(0, 1, 7))
    with pytest.raises(InvalidInput, match=r"decoder\.9"):
        from_official({"decoder.9.weight": torch.zeros(1)})
