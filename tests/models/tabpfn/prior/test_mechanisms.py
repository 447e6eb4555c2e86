"""Each mechanism by itself: sources of columns, functions of columns, columns, classes."""

import pytest
import torch

from foretoken.models.tabpfn.prior import classes, columns, missing, tables
from foretoken.models.tabpfn.prior.activations import ACTIVATIONS, activate, choose
from foretoken.models.tabpfn.prior.draws import Draws, pick_rows, standardise

SOURCES = [source for _, source in tables.SOURCES]
FUNCTIONS = [function for _, function in tables.FUNCTIONS]


@pytest.fixture
def draws() -> Draws:
    return Draws.begin(torch.Generator().manual_seed(5), torch.device("cpu"))


def test_weights_are_shares() -> None:
    assert sum(weight for weight, _ in tables.SOURCES) == pytest.approx(1)
    assert sum(weight for weight, _ in tables.FUNCTIONS) == pytest.approx(1)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("features", [1, 7, 40])
def test_sources_give_finite_columns_that_vary(
    draws: Draws, source: tables.Source, features: int
) -> None:
    latent, scores = source(draws, 5, 200, features, 4)
    assert latent.shape == (5, features, 200)
    assert scores.shape == (5, 4, 200)
    assert latent.isfinite().all()
    assert scores.isfinite().all()
    assert (latent.std(2) > 1e-3).float().mean() > 0.8


@pytest.mark.parametrize("source", SOURCES)
def test_columns_of_a_source_depend_on_each_other(draws: Draws, source: tables.Source) -> None:
    latent, _ = source(draws, 16, 400, 10, 4)
    z = standardise(latent)
    between = (z @ z.transpose(1, 2) / 400)[:, *torch.triu_indices(10, 10, 1)]
    assert between.abs().mean() > 0.08  # independent columns would show 0.04


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_depend_on_columns_alone(draws: Draws, function: tables.Function) -> None:
    z = draws.normal(6, 5, 60)
    z[:, :, 30:] = z[:, :, :30]
    scores = function(draws, z, 3)
    assert scores.shape == (6, 3, 60)
    assert scores.isfinite().all()
    assert torch.allclose(scores[..., :30], scores[..., 30:], atol=1e-4)
    assert (scores.std(2) > 0).float().mean() > 0.8


def test_every_activation_is_finite_and_put_where_it_was_chosen(draws: Draws) -> None:
    x = draws.normal(3, 8, 50) * 100
    ids = choose(draws, 3, 2, 8)[:, 1]
    out = activate(draws, x, ids)
    for b in range(3):
        for h in range(8):
            assert torch.equal(out[b, h], ACTIVATIONS[ids[b, h]](x[b, h]))
    for activation in ACTIVATIONS:
        assert activation(x).isfinite().all()


def test_bins_follow_the_order_of_values_and_stay_below_their_number(draws: Draws) -> None:
    x = draws.normal(8, 6, 300)
    codes, levels = columns.bin_columns(draws, x)
    assert (codes < levels).all()
    assert (codes >= 0).all()
    ordered = codes.gather(2, x.argsort(2))
    assert (ordered.diff(dim=2) >= 0).all()
    assert len(levels.unique()) > 4


def test_values_go_missing_with_and_without_reason(draws: Draws) -> None:
    shown = draws.normal(400, 4, 250)
    gone = missing.remove_values(draws, shown).isnan()
    share = gone.float().mean(2)
    some = (share > 0.02) & (share < 0.6)
    own = torch.where(gone, shown, 0).sum(2)[some] / gone.sum(2)[some]
    told = own.abs() * gone.sum(2)[some].sqrt() > 4  # those missing are not like the others
    assert 0.05 < told.float().mean() < 0.6
    assert share.max() < 0.9


def test_boundaries_keep_the_order_of_scores_or_mix_the_classes(draws: Draws) -> None:
    score = draws.normal(200, 300).sort(1).values
    y = classes.cut_score(draws, score, torch.full((200, 1), 5), 10)
    assert y.max() == 4
    rising = (y.diff(dim=1) >= 0).all(1)
    assert 0.35 < rising.float().mean() < 0.7
    changes = (y.diff(dim=1) != 0).sum(1)
    assert changes.max() == 4  # each class is one interval of the score


def test_one_class_is_split_in_two(draws: Draws) -> None:
    y = torch.zeros(20, 40, dtype=torch.int64)
    split = classes.ensure_two(draws, y, torch.zeros(20, 40))
    assert (split.amax(1) == 1).all()
    assert (split.amin(1) == 0).all()
    mixed = torch.arange(40).expand(20, 40) % 3
    assert torch.equal(classes.ensure_two(draws, mixed, torch.zeros(20, 40)), mixed)


def test_rows_move_only_where_a_class_would_be_unseen(draws: Draws) -> None:
    y = torch.zeros(2, 30, dtype=torch.int64)
    y[:, 3] = 1
    y[1, 29] = 2
    order = classes.seat_classes(draws, y, 10, 10)
    assert torch.equal(order[0], torch.arange(30))
    assert torch.equal(order[1].sort().values, torch.arange(30))
    assert set(y[1, order[1, :10]].tolist()) == {0, 1, 2}


def test_picking_rows_is_plain_indexing(draws: Draws) -> None:
    values, index = draws.normal(3, 5, 4), draws.below(5, 3, 2, 6)
    picked = pick_rows(values, index)
    for b in range(3):
        assert torch.equal(picked[b], values[b][index[b]])
