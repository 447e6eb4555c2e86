"""Chains are checked, and edited as their definition says."""

from __future__ import annotations

import random

import pytest

from foretoken.errors import InvalidInput
from foretoken.models.depth.chains import edited, expect_chain, full, repeated, skipped


def test_a_block_is_skipped_or_comes_again():
    whole = full(6)
    assert whole == (0, 1, 2, 3, 4, 5)
    assert skipped(whole, 1, 3) == (0, 4, 5)
    assert skipped(whole, 4, 2) == (0, 1, 2, 3)
    assert repeated(whole, 2, 2, 1) == (0, 1, 2, 3, 2, 3, 4, 5)
    assert repeated(whole, 5, 1, 3) == (0, 1, 2, 3, 4, 5, 5, 5, 5)


def test_edited_chains_can_be_run_and_differ():
    chains = {edited(full(5), 1 + i % 3, 8, random.Random(i)) for i in range(300)}
    assert all(expect_chain(chain, 5, 8) == chain for chain in chains)
    assert len(chains) > 60
    assert {len(chain) for chain in chains} == set(range(1, 9))
    assert any(len(set(chain)) < len(chain) for chain in chains)
    assert edited(full(5), 2, 8, random.Random(7)) == edited(full(5), 2, 8, random.Random(7))


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ([], "1 to 6 layers, not 0"),
        ([0] * 7, "1 to 6 layers, not 7"),
        ([0, 1, 4], "position 2 is 4; layers are 0 to 3"),
        ([0, -1], "position 1 is -1"),
        ([0, True], "position 1 is True"),
        ([0.0], "position 0 is 0.0"),
    ],
)
def test_chains_that_cannot_be_run_are_refused(chain, said):
    with pytest.raises(InvalidInput, match=said):
        expect_chain(chain, 4, 6)
