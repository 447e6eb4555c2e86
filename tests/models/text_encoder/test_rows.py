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
def test_attention_and_pooling(length, causal, heads, kv_heads):
    torch.manual_seed(0)
    n, T = torch.tensor(length), max(*length, 1)
    padded, packed = (kind(n, T, causal=causal) for kind in (Padded, Packed))
    real = (torch.arange(T) < n[:, None]).flatten()
    q, k, v = (torch.randn(len(length) * T, heads_, 8) for heads_ in (heads, kv_heads, kv_heads))
    seen = padded.attend(q, k, v)
    torch.testing.assert_close(packed.attend(q[real], k[real], v[real]), seen[real])
    h = q.flatten(1)
    torch.testing.assert_close(packed.mean(h[real]), padded.mean(h))
    index = (n - 1).clamp(min=0)
    some = n > 0
    torch.testing.assert_close(packed.at(h[real], index)[some], padded.at(h, index)[some])


@pytest.mark.parametrize("length", LENGTHS)
def test_attention_is_what_each_row_alone_would_see(length):
    torch.manual_seed(1)
    n, T = torch.tensor(length), max(*length, 1)
    q, k, v = (torch.randn(len(length), T, 2, 8) for _ in range(3))
    seen = Padded(n, T, causal=False).attend(*(x.flatten(0, 1) for x in (q, k, v)))
    for row, (count, got) in enumerate(zip(length, seen.view_as(q), strict=True)):
        own = [x[row, :count].transpose(0, 1) for x in (q, k, v)]
        shares = torch.softmax(own[0] @ own[1].mT / 8**0.5, dim=-1)
        torch.testing.assert_close(got[:count], (shares @ own[2]).transpose(0, 1))


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
