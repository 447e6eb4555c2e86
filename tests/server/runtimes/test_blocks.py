"""Graphs of a decoder block are the block."""

from __future__ import annotations

import pytest
import torch

from foretoken.models.layers.decoder import DecoderBlock, DecoderShape
from foretoken.models.layers.gqa import causal
from foretoken.models.layers.rope import angles, frequencies
from foretoken.models.layers.words import Words
from foretoken.server.runtimes.blocks import OnnxBlock, OnnxHead, in_sessions

SHAPES = [
    DecoderShape(19, 24, 1, 6, 2, 8, 40, qkv_bias=True),
    DecoderShape(19, 32, 1, 4, 4, 6, 24, eps=1e-5),
    DecoderShape(19, 16, 1, 7, 1, 2, 8, theta=1e6),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [1, 2, 33])
@torch.no_grad()
def test_a_block_in_sessions_is_the_block(shape, tokens):
    torch.manual_seed(tokens)
    block = DecoderBlock(shape)
    for weights in block.parameters():
        torch.nn.init.normal_(weights, std=0.5)
    positions = torch.randint(0, 5000, (tokens,))
    turned = angles(positions, frequencies(shape.head_width, shape.theta))
    h = torch.randn(tokens, shape.width) * 3

    def attend(q, k, v):
        assert q.shape == (tokens, shape.heads, shape.head_width)
        assert k.shape == v.shape == (tokens, shape.kv_heads, shape.head_width)
        return causal(q[None], k[None], v[None])[0]

    wanted = block(h, *turned, attend)
    torch.testing.assert_close(
        OnnxBlock(block, 1)(h, *turned, attend), wanted, rtol=1e-5, atol=1e-4
    )


@torch.no_grad()
def test_heads_in_sessions_are_the_heads():
    words = Words(300, 256)
    module = torch.nn.ModuleDict({"words": words, "small": Words(3, 4)})
    x, ids = torch.randn(5, 256), torch.tensor([0, 299, 7])
    wanted = words.scores(x)
    assert in_sessions(module, 1) == 4 * 300 * 256
    assert module["words"] is not words
    assert type(module["small"]) is Words
    torch.testing.assert_close(module["words"].scores(x), wanted, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(module["words"](ids), words(ids), rtol=0, atol=0)
    head = torch.nn.Linear(256, 300, bias=False)
    torch.testing.assert_close(OnnxHead(head.weight, 2)(x), head(x), rtol=1e-5, atol=1e-4)
