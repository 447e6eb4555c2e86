"""The decoder is that of transformers, and its cache belongs to positions of the chain."""

from __future__ import annotations

import random

import pytest
import torch

from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.models.cola.packed import Packed
from foretoken.models.depth.chains import edited, full
from foretoken.models.layers.decoder import DecoderShape

SHAPE = DecoderShape(
    vocab=31, width=24, layers=4, heads=6, kv_heads=2, head_width=8, mlp=40, qkv_bias=True
)
CHAINS = [
    (0, 1, 2, 3),
    (0, 3),
    (2,),
    (0, 1, 1, 1, 2, 3),
    (0, 1, 2, 1, 2, 3, 3),
    (3, 0, 2, 0),
    *(edited(full(4), 3, 10, random.Random(i)) for i in range(6)),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = ColaModel(ColaConfig(SHAPE)).eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    return made


@pytest.fixture
def ids():
    return torch.randint(0, 31, (3, 23), generator=torch.Generator().manual_seed(1))


def steps(model, ids, chain, *cuts):
    """Logits of all tokens, from the cache, in pieces that end at ``cuts`` and at the end."""
    past, found = None, []
    for begin, end in zip((0, *cuts), (*cuts, ids.shape[1]), strict=True):
        logits, past = model.cached(ids[:, begin:end], chain, past)
        found.append(logits)
    return torch.cat(found, dim=1), past


@torch.no_grad()
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_decoding_from_the_cache_is_recomputing(model, ids, chain):
    whole = model(ids, chain)
    one_by_one, past = steps(model, ids, chain, *range(5, 23))
    torch.testing.assert_close(one_by_one, whole, rtol=1e-5, atol=1e-5)
    in_chunks, _ = steps(model, ids, chain, 1, 2, 10)
    torch.testing.assert_close(in_chunks, whole, rtol=1e-5, atol=1e-5)
    assert len(past) == len(chain)
    assert all(k.shape == v.shape == (3, 23, 2, 8) for k, v in past)


@torch.no_grad()
def test_a_layer_that_comes_twice_has_seen_other_tokens_each_time(model, ids):
    _, past = model.cached(ids, (0, 1, 1, 2))
    (first, _), (second, _) = past[1:3]
    assert (first - second).abs().max() > 0.1
    # A cache by layer would give both times what came last.
    wrong = (past[0], past[2], past[2], past[3])
    right, _ = model.cached(ids[:, :1], (0, 1, 1, 2), past)
    other, _ = model.cached(ids[:, :1], (0, 1, 1, 2), wrong)
    assert (right - other).abs().max() > 0.01


@torch.no_grad()
def test_the_whole_chain_is_the_plain_model_exactly(model, ids):
    assert torch.equal(model(ids), model(ids, [0, 1, 2, 3]))
    plain, _ = model.cached(ids)
    chained, _ = model.cached(ids, (0, 1, 2, 3))
    assert torch.equal(plain, chained)
    assert not torch.allclose(model(ids), model(ids, (0, 2, 1, 3)), atol=0.01)


@torch.no_grad()
def test_packed_rows_are_rows(model, ids):
    short = ids[:2, 4:11]
    packed = Packed(((3, 23), (2, 7)))
    together = model(torch.cat([ids.flatten(), short.flatten()]), (1, 0, 1), packed)
    assert packed.tokens == len(together) == 3 * 23 + 2 * 7
    torch.testing.assert_close(together[:69].view(3, 23, -1), model(ids, (1, 0, 1)))
    torch.testing.assert_close(together[69:].view(2, 7, -1), model(short, (1, 0, 1)))


@torch.no_grad()
def test_tokens_see_none_after_themselves(model, ids):
    changed = ids.clone()
    changed[:, 15:] = (changed[:, 15:] + 1) % 31
    before, after = (model(x, (0, 1, 1, 3))[:, :15] for x in (ids, changed))
    torch.testing.assert_close(before, after)
