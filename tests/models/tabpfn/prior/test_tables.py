"""What every draw promises: shapes, reproducibility, classes seated in the training rows."""

import pytest
import torch
from torch import Tensor

from foretoken.errors import InvalidInput
from foretoken.models.tabpfn.prior import Tables, sample

SHAPES = ((6, 12, 1, 6, 10), (16, 64, 3, 40, 4), (64, 128, 20, 90, 10), (3, 400, 60, 300, 2))


def draw(*shape: int, seed: int = 0) -> Tables:
    batch, rows, features, train_rows, most = shape
    generator = torch.Generator().manual_seed(seed)
    return sample(
        batch, rows, features, train_rows=train_rows, max_classes=most, generator=generator
    )


def present(y: Tensor, most: int) -> Tensor:
    return (y.unsqueeze(1) == torch.arange(most).view(1, -1, 1)).any(2)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_and_types(shape: tuple[int, ...]) -> None:
    batch, rows, features, _, most = shape
    tables = draw(*shape)
    assert tables.x.shape == (batch, rows, features)
    assert tables.x.dtype == torch.float32
    assert tables.y.shape == (batch, rows)
    assert tables.y.dtype == tables.classes.dtype == torch.int64
    assert tables.classes.shape == (batch,)
    assert tables.categorical.shape == (batch, features)
    assert tables.categorical.dtype == torch.bool
    assert tables.classes.max() <= most


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(4))
def test_labels_are_dense_and_every_class_is_in_the_training_rows(
    shape: tuple[int, ...], seed: int
) -> None:
    tables, train_rows, most = draw(*shape, seed=seed), shape[3], shape[4]
    named = torch.arange(most) < tables.classes.unsqueeze(1)
    assert torch.equal(present(tables.y, most), named)
    assert torch.equal(present(tables.y[:, :train_rows], most), named)
    assert (tables.classes >= 2).all()


def test_two_training_rows_are_enough_for_two_classes() -> None:
    tables = draw(32, 20, 4, 2, 10)
    assert (tables.classes == 2).all()
    assert (tables.y[:, 0] != tables.y[:, 1]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_finite_or_missing_and_no_column_is_constant(shape: tuple[int, ...]) -> None:
    x, train_rows = draw(*shape).x, shape[3]
    assert not x.isinf().any()
    seen = x[:, :train_rows]
    high, low = seen.nan_to_num(nan=-1e30).amax(1), seen.nan_to_num(nan=1e30).amin(1)
    assert (high > low).all()
    centred = x.double() - x.double().nanmean(1, keepdim=True)
    variance = centred.square().nanmean(1)
    assert variance.isfinite().all()
    assert (variance > 0).all()


def test_categories_are_small_whole_codes() -> None:
    tables = draw(64, 128, 20, 90, 10)
    codes = tables.x.transpose(1, 2)[tables.categorical]
    codes = codes[~codes.isnan()]
    assert torch.equal(codes, codes.round())
    assert codes.min() == 0
    assert codes.max() < 32


def test_a_seed_decides_everything() -> None:
    first, again, other = (draw(16, 64, 8, 40, 10, seed=seed) for seed in (3, 3, 4))
    for field in ("x", "y", "classes", "categorical"):
        a, b = getattr(first, field), getattr(again, field)
        assert torch.equal(a.nan_to_num() if a.is_floating_point() else a, b.nan_to_num())
    assert not torch.equal(first.x.nan_to_num(), other.x.nan_to_num())


def test_a_generator_moves_on_and_the_global_one_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.get_rng_state()
    first = sample(4, 32, 5, train_rows=20, generator=generator)
    second = sample(4, 32, 5, train_rows=20, generator=generator)
    assert not torch.equal(first.x.nan_to_num(), second.x.nan_to_num())
    assert torch.equal(torch.get_rng_state(), before)


def test_another_type_of_number() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = sample(4, 32, 5, train_rows=20, generator=generator, dtype=torch.float64)
    assert tables.x.dtype == torch.float64


@pytest.mark.parametrize(
    "wrong",
    [
        (0, 32, 5, 20, 10),
        (4, 32, 0, 20, 10),
        (4, 32, 5, 33, 10),
        (4, 32, 5, 1, 10),
        (4, 9, 5, 5, 1),
    ],
)
def test_sizes_out_of_range_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="at least 1 table"):
        draw(*wrong)


@pytest.mark.gpu
def test_a_gpu_draws_reproducible_tables() -> None:
    draws = []
    for _ in range(2):
        generator = torch.Generator("cuda").manual_seed(0)
        draws.append(sample(64, 128, 20, train_rows=90, device="cuda", generator=generator))
    assert draws[0].x.is_cuda
    assert torch.equal(draws[0].x.nan_to_num(), draws[1].x.nan_to_num())
    assert torch.equal(draws[0].y, draws[1].y)
