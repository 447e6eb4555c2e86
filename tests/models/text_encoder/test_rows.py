"""Packed rows are padded rows, without the padding."""

from __future__ import annotations

import pytest
import torch

from foretoken.models.text_encoder import FAMILY
from foretoken.models.text_encoder.rows import Packed, Padded

LENGTHS = [[5, 1, 3], [4], [0, 2, 0], [0], [7, 7]]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2)])
def test_each_row_is_as_if_it_were_alone(length, causal, heads, kv_heads):
    torch.manual_seed(0)
    n, T = torch.tensor(length), max(*length, 1)
    tokens = torch.arange(len(length) * T).view(len(length), T)
    q, k, v = (torch.randn(len(length) * T, each, 8) for each in (heads, kv_heads, kv_heads))
    for kind in (Padded, Packed):
        rows = kind(n, T, causal=causal)
        at = rows.listed(tokens)
        h = rows.attend(q[at], k[at], v[at]).flatten(1)
        means, lasts = rows.mean(h), rows.at(h, (n - 1).clamp(min=0))
        for row, count in enumerate(length):
            if not count:
                assert not means[row].any()
                continue
            own = [x[tokens[row, :count]].transpose(0, 1) for x in (q, k, v)]
            k_all, v_all = (x.repeat_interleave(heads // kv_heads, dim=0) for x in own[1:])
            scores = own[0] @ k_all.mT / 8**0.5
            if causal:
                scores = scores + torch.full((count, count), -torch.inf).triu(1)
            want = (torch.softmax(scores, dim=-1) @ v_all).transpose(0, 1).flatten(1)
            torch.testing.assert_close(means[row], want.mean(0))
            torch.testing.assert_close(lasts[row], want[-1])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_network_says_the_same_of_packed_rows(pooling):
    torch.manual_seed(2)
    module = FAMILY.module({**FAMILY.small, "pooling": pooling}).eval()
    for example in FAMILY.examples(FAMILY.small, "forward"):
        ids, length = (torch.from_numpy(example[name]) for name in ("ids", "length"))
        with torch.no_grad():
            rows = Packed(length, ids.shape[1], causal=False)
            torch.testing.assert_close(module.vectors(ids, rows, length), module(ids, length))


@pytest.mark.gpu
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_packed_rows_on_a_gpu(pooling):
    torch.manual_seed(3)
    config = {**FAMILY.small, "pooling": pooling}
    module = FAMILY.module(config).eval()
    for example in FAMILY.examples(config, "forward"):
        ids, length = (torch.from_numpy(example[name]) for name in ("ids", "length"))
        with torch.inference_mode():
            wanted = module.cpu()(ids, length)
            got = module.cuda()(ids.cuda(), length.cuda()).cpu()
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
            with torch.autocast("cuda", torch.bfloat16):
                half = module(ids.cuda(), length.cuda()).cpu()
        some = length > 0
        assert ((half * wanted).sum(-1)[some] > 0.99).all()
