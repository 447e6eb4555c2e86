"""Inverses of positive definite matrices, whole and by blocks, undo their matrices."""

from __future__ import annotations

import pytest
import torch

from foretoken.models.tabpfn.inverse import SMALL, by_blocks, inverse


@pytest.mark.parametrize("N", [1, SMALL, SMALL + 1, 3 * SMALL + 7])
@pytest.mark.parametrize("way", [inverse, by_blocks])
def test_it_is_the_inverse(N, way):
    root = torch.randn(2, N, N, generator=torch.Generator().manual_seed(N), dtype=torch.float64)
    matrix = root @ root.mT / N + 1e-2 * torch.eye(N, dtype=torch.float64)
    one = torch.eye(N, dtype=torch.float64).expand_as(matrix)
    torch.testing.assert_close(way(matrix) @ matrix, one, rtol=1e-9, atol=1e-9)


def test_kernel_matrices_are_inverted_in_float32():
    points = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    matrix = torch.exp(-torch.cdist(points, points).square() / 10) + 0.3 * torch.eye(300)
    for way in (inverse, by_blocks):
        undone = way(matrix).double() @ matrix.double() - torch.eye(300)
        assert undone.abs().max() < 1e-4


def test_what_has_no_factor_becomes_nan():
    matrix = torch.eye(3 * SMALL)
    matrix[SMALL, SMALL] = -1
    assert by_blocks(matrix).isnan().any()
