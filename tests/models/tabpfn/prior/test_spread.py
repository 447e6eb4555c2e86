"""What the prior's tables are like on the whole: shares of kinds, and how much can be learnt."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from foretoken.models.tabpfn.prior import Tables, sample

TABLES, ROWS, TRAIN = 400, 128, 96


@pytest.fixture(scope="module")
def tables() -> Tables:
    generator = torch.Generator().manual_seed(0)
    return sample(TABLES, ROWS, 12, train_rows=TRAIN, generator=generator)


def test_half_are_binary_and_the_rest_have_up_to_ten_classes(tables: Tables) -> None:
    counts = torch.bincount(tables.classes, minlength=11) / TABLES
    assert 0.42 < counts[2] < 0.65
    assert (counts[3:] > 0).all()
    assert counts[3] > counts[10]


def test_missing_values_are_in_some_tables_and_some_of_their_columns(tables: Tables) -> None:
    gone = tables.x.isnan()
    some = gone.any(2).any(1)
    assert 0.25 < some.float().mean() < 0.5
    assert 0.005 < gone.float().mean() < 0.08
    assert (~gone[some].any(1)).any()  # columns without any beside those with some


def test_tables_are_numeric_mixed_or_categorical(tables: Tables) -> None:
    share = tables.categorical.float().mean(1)
    assert 0.25 < (share == 0).float().mean() < 0.55
    assert 0.08 < (share > 0.99).float().mean() < 0.3
    assert 0.2 < ((share > 0) & (share < 0.99)).float().mean() < 0.6


def test_classes_are_balanced_in_some_tables_and_rare_in_others(tables: Tables) -> None:
    binary = tables.classes == 2
    minority = (tables.y[binary] == 0).float().mean(1)
    minority = torch.minimum(minority, 1 - minority)
    assert 0.05 < (minority < 0.15).float().mean() < 0.5
    assert (minority > 0.4).float().mean() > 0.25


def test_columns_come_in_different_units(tables: Tables) -> None:
    scale = tables.x.nan_to_num().std(1)[~tables.categorical].log10()
    assert scale.quantile(0.9) - scale.quantile(0.1) > 2


def test_rows_are_exchangeable(tables: Tables) -> None:
    """The first and the second half of the rows have the same classes, up to chance."""
    halves = [
        torch.stack([(part == k).float().mean(1) for k in range(10)], 1)
        for part in (tables.y[:, : ROWS // 2], tables.y[:, ROWS // 2 :])
    ]
    p = (halves[0] + halves[1]) / 2
    z = (halves[0] - halves[1]) / (p * (1 - p) * 4 / ROWS).sqrt().clamp_min(1e-6)
    used = (p > 0.1) & (p < 0.9)
    assert z[used].square().mean().sub(1).abs() < 0.25


def logistic_regression(x: Tensor, y: Tensor, train: int) -> Tensor:
    """Class scores [B, R, C] of one ridge-penalised multinomial model per table."""
    mean = x[:, :train].nanmean(1, keepdim=True)
    x = torch.where(x.isnan(), mean, x) - mean
    x = (x / x[:, :train].std(1, keepdim=True)).clamp(-5, 5)
    x = torch.cat([x, torch.ones_like(x[..., :1])], 2)
    w = torch.zeros(x.shape[0], x.shape[2], 10, requires_grad=True)
    optimiser = torch.optim.Adam([w], lr=0.05)
    for _ in range(120):
        logits = (x[:, :train] @ w).transpose(1, 2)
        loss = cross_entropy(logits, y[:, :train], reduction="none").mean(1) + 0.01 * (
            w.square().sum((1, 2))
        )
        optimiser.zero_grad()
        loss.sum().backward()
        optimiser.step()
    return (x @ w).detach()


def auc(scores: Tensor, y: Tensor) -> float:
    """Mean over classes of the one-against-rest area under the ROC curve."""
    areas = []
    for k in range(scores.shape[1]):
        yes, no = scores[y == k, k], scores[y != k, k]
        if len(yes) and len(no):
            above = yes.unsqueeze(1) - no
            areas.append(((above > 0) + 0.5 * (above == 0)).mean(dtype=torch.float32).item())
    return sum(areas) / len(areas) if areas else 0.5


def test_a_linear_model_learns_much_but_not_everything() -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = sample(50, 384, 16, train_rows=256, generator=generator)
    scores = logistic_regression(drawn.x, drawn.y, 256)
    areas = torch.tensor(
        [auc(s, y) for s, y in zip(scores[:, 256:], drawn.y[:, 256:], strict=True)]
    )
    assert 0.70 < areas.mean() < 0.92
    assert (areas > 0.9).any()  # nearly deterministic tables
    assert (areas < 0.6).any()  # hopeless ones
    assert areas.std() > 0.08
