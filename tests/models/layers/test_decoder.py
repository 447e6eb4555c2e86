"""The shared pieces of Llama and Qwen2 compute what transformers' do."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config
from transformers.models.llama.modeling_llama import (
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2DecoderLayer,
    Qwen2MLP,
    Qwen2RMSNorm,
)

from foretoken.errors import InvalidInput
from foretoken.kernels.rope import rotate
from foretoken.models.layers.decoder import DecoderBlock, DecoderShape
from foretoken.models.layers.gqa import attend, causal
from foretoken.models.layers.rmsnorm import RMSNorm
from foretoken.models.layers.rope import angles, frequencies
from foretoken.models.layers.swiglu import SwiGLU

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
SHAPE = DecoderShape(
    vocab=32, width=24, layers=1, heads=6, kv_heads=2, head_width=8, mlp=40, qkv_bias=True
)
CONFIG = Qwen2Config(
    vocab_size=32,
    hidden_size=24,
    num_hidden_layers=1,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=40,
    attn_implementation="eager",
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("scaling", [None, {"rope_type": "default"}, LLAMA3])
def test_positions_turn_heads_as_llamas_do(scaling):
    theirs = LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        max_position_embeddings=2048,
        rope_parameters={"rope_theta": 5e5, **(scaling or {"rope_type": "default"})},
    )
    q, k = torch.randn(1, 2, 70, 64), torch.randn(1, 2, 70, 64)
    positions = torch.arange(1900, 1970)
    with torch.no_grad():
        cos, sin = LlamaRotaryEmbedding(theirs)(q, positions[None])
        wanted = apply_rotary_pos_emb(q, k, cos, sin)
    turned = angles(positions, frequencies(64, 5e5, scaling))
    got = rotate(q[0].transpose(0, 1), k[0].transpose(0, 1), *turned)
    for mine, want in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine.transpose(0, 1), want[0], rtol=1e-6, atol=1e-6)


def test_llama3_scaling_changes_the_slow_frequencies_only():
    plain, scaled = frequencies(64, 5e5), frequencies(64, 5e5, LLAMA3)
    assert torch.equal(plain[:4], scaled[:4])
    torch.testing.assert_close(scaled[-4:], plain[-4:] / 8)


@pytest.mark.parametrize("kind", ["yarn", "dynamic", "linear", "longrope"])
def test_other_scalings_are_refused_by_name(kind):
    with pytest.raises(InvalidInput, match=kind):
        frequencies(64, 1e4, {"rope_type": kind, "factor": 2.0})


def test_a_scaling_without_its_numbers_is_refused():
    lacking = {k: v for k, v in LLAMA3.items() if k != "high_freq_factor"}
    with pytest.raises(InvalidInput, match="high_freq_factor"):
        frequencies(64, 1e4, lacking)


def test_norm_and_mlp_are_those_of_transformers():
    x = 30 * torch.randn(5, 24)
    theirs, ours = Qwen2RMSNorm(24, eps=1e-5), RMSNorm(24, eps=1e-5)
    theirs.weight.data.normal_()
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))
    mlp, gated = Qwen2MLP(CONFIG), SwiGLU(24, 40)
    for name in ("gate", "up", "down"):
        getattr(gated, name).load_state_dict(getattr(mlp, f"{name}_proj").state_dict())
    torch.testing.assert_close(gated(x), mlp(x))


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2), (5, 1)])
def test_a_head_of_keys_serves_its_group(heads, kv_heads):
    q, k, v = (torch.randn(2, n, 7, 8) for n in (heads, kv_heads, kv_heads))
    for bias in (torch.zeros(1, 1, 1, 7), torch.randn(2, 1, 7, 7)):
        k_all, v_all = (x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v))
        shares = torch.softmax(q @ k_all.mT / 8**0.5 + bias, dim=-1)
        torch.testing.assert_close(attend(q, k, v, bias), shares @ v_all)


def test_a_block_is_a_layer_of_qwen2():
    theirs = Qwen2DecoderLayer(CONFIG, 0).eval()
    for parameter in theirs.parameters():
        parameter.data.normal_(std=0.3)
    ours = DecoderBlock(SHAPE)
    for ours_, theirs_ in (
        (ours.norm_attention, theirs.input_layernorm),
        (ours.norm_mlp, theirs.post_attention_layernorm),
        *((getattr(ours.attention, n), getattr(theirs.self_attn, f"{n}_proj")) for n in "qkv"),
        (ours.attention.out, theirs.self_attn.o_proj),
        *((getattr(ours.mlp, n), getattr(theirs.mlp, f"{n}_proj")) for n in ("gate", "up", "down")),
    ):
        ours_.load_state_dict(theirs_.state_dict())
    h = torch.randn(9, 24)
    cos, sin = angles(torch.arange(9), frequencies(8, 1e4))

    def both_ways(q, k, v):
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        return attend(q, k, v, torch.zeros(1, 1, 1, 9))[0].transpose(0, 1)

    with torch.no_grad():
        twice = (torch.cat([cos, cos], -1)[None], torch.cat([sin, sin], -1)[None])
        wanted = theirs(h[None], attention_mask=None, position_embeddings=twice)
        torch.testing.assert_close(
            ours(h, cos, sin, both_ways), wanted.view(9, 24), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("wrong", [{"kv_heads": 4}, {"head_width": 7}, {"layers": 0}])
def test_a_shape_that_is_none_is_refused(wrong):
    from dataclasses import replace

    with pytest.raises(InvalidInput, match="not a decoder"):
        replace(SHAPE, **wrong)


def test_a_block_compiles_whole_and_is_the_same():
    """Kernels without gradients are no part of what is trained."""
    block, h = DecoderBlock(SHAPE), torch.randn(2, 9, 24)
    turn = angles(torch.arange(9), frequencies(8, 1e4))
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(h, *turn, causal), block(h, *turn, causal))


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 0.002), (torch.bfloat16, 0.02)])
def test_a_gpu_runs_a_block_by_kernels_as_a_cpu_does_without(dtype, bound):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    block, h = DecoderBlock(SHAPE), torch.randn(2, 9, 24)
    turn = angles(torch.arange(9), frequencies(8, 1e4))
    with torch.no_grad():
        wanted = block(h, *turn, causal)
        block.to("cuda", dtype)
        made = block(h.to("cuda", dtype), *(each.cuda() for each in turn), causal)
    assert made.dtype == dtype
    assert (made.cpu() - wanted).norm() <= bound * wanted.norm()
