"""Fitting a table: a table that made the vectors is found again, from another beginning."""

from __future__ import annotations

import torch
from torch.nn.functional import cosine_similarity, normalize

from foretoken.models.static_encoder.fit import fitted

V, E, N = 40, 12, 20_000


def _texts(seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (N,), generator=generator)
    return torch.randint(0, V, (int(lengths.sum()),), generator=generator), lengths


def _sums(rows, texts):
    return torch.stack([rows[ids].sum(0) for ids in texts[0].split(texts[1].tolist())])


def test_the_table_comes_near_to_the_one_that_made_the_vectors():
    torch.manual_seed(0)
    right = torch.randn(V, E) * 0.1
    weights = torch.ones(V)
    start = right + 0.05 * torch.randn(V, E)
    texts, others = _texts(1), _texts(2)
    heard = []
    made = fitted(
        start,
        weights,
        texts,
        normalize(_sums(right, texts)),
        tell=lambda done, cosine: heard.append((done, cosine)),
    )
    before, after = (
        cosine_similarity(_sums(rows, others), _sums(right, others)).mean()
        for rows in (start, made)
    )
    assert 1 - after < 0.5 * (1 - before)
    assert heard[-1][0] == 1
    assert heard[-1][1] > heard[0][1]


def test_rows_of_tokens_that_no_text_has_or_that_weigh_nothing_stay():
    torch.manual_seed(0)
    start = torch.randn(V + 1, E)
    weights = torch.ones(V + 1)
    weights[3] = 0
    texts = _texts(1)
    made = fitted(start, weights, texts, normalize(torch.randn(N, E)))
    torch.testing.assert_close(made[[3, V]], start[[3, V]], rtol=0, atol=0)
    assert not torch.equal(made[4], start[4])
