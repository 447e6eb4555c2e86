"""Associative recall: what is asked for was said, once, and nothing else is asked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.deltanet.recall import NONE, recall


@settings(max_examples=60, deadline=None)
@given(
    B=st.integers(1, 5),
    P=st.integers(1, 20),
    more=st.integers(0, 50),
    half=st.integers(21, 60),
    seed=st.integers(0, 2**31),
)
def test_every_key_is_asked_for_once_and_its_value_is_the_answer(B, P, more, half, seed):
    T, V = 3 * P + more, 2 * half
    tokens, answers = recall(B, T, P, V, torch.Generator().manual_seed(seed))
    assert tokens.shape == answers.shape == (B, T)
    assert tokens.dtype == answers.dtype == torch.int64
    for said, wanted in zip(tokens.tolist(), answers.tolist(), strict=True):
        keys, values = said[0 : 2 * P : 2], said[1 : 2 * P : 2]
        assert len(set(keys)) == len(set(values)) == P
        assert all(1 <= key < half for key in keys)
        assert all(half <= value < V for value in values)
        asked = {t for t, answer in enumerate(wanted) if answer != NONE}
        assert sorted(said[t] for t in asked) == sorted(keys)
        assert all(wanted[t] == dict(zip(keys, values, strict=True))[said[t]] for t in asked)
        assert not any(said[t] for t in range(2 * P, T) if t not in asked)
        assert min(asked) >= 2 * P


def test_the_generator_alone_decides():
    drawn = [recall(3, 40, 5, 64, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_gaps_follow_a_power_law_whichever_key_is_asked_for():
    _, answers = recall(4000, 128, 4, 64, torch.Generator().manual_seed(0))
    counts = (answers != NONE).sum(0)[8:].double()
    weights = torch.arange(1.0, 121.0).double() ** -0.99
    # The second half is rarely asked in, as often as 1 / gap says; chosen ones do not come twice.
    share, wanted = counts[60:].sum() / counts.sum(), weights[60:].sum() / weights.sum()
    assert wanted < share < 2 * wanted
    tokens, _ = recall(4000, 128, 4, 64, torch.Generator().manual_seed(1))
    places = (tokens[:, 8:, None] == tokens[:, None, 0:8:2]).double().argmax(1)  # [B, 4]
    means = places.double().mean(0)
    assert (means.max() - means.min()) < 0.15 * means.mean()


@pytest.mark.parametrize(
    ("B", "T", "P", "V"),
    [(0, 9, 3, 64), (1, 8, 3, 64), (1, 90, 0, 64), (1, 96, 32, 64), (1, 9, 3, 65)],
)
def test_what_does_not_fit_is_refused(B, T, P, V):
    with pytest.raises(InvalidInput, match=f"{P} pairs do not fit {T} tokens"):
        recall(B, T, P, V, torch.Generator())
