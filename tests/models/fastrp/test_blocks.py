"""Blocks: no bit depends on them, and they bound the memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from foretoken.errors import Unavailable
from foretoken.models.edges import canonical
from foretoken.models.fastrp import scratch
from foretoken.models.fastrp.blocks import add_squares, blocks_of, filled
from foretoken.models.fastrp.walk import walk_of
from tests.models.fastrp.graphs import drawn, options, weighted

D = 16


def whole(graph, chosen, blocks, *, turned=False):
    walk = walk_of(canonical(graph))
    squares = None
    if chosen.normalize:
        squares = np.zeros((len(chosen.weights), walk.count))
        for columns in blocks:
            add_squares(walk, chosen, columns, squares)
    out = np.full((walk.count, D), np.nan, np.float32)
    for columns in reversed(blocks) if turned else blocks:
        filled(walk, chosen, columns, out, squares)
    return out


@pytest.mark.parametrize("projection", ["sparse", "gaussian"])
@pytest.mark.parametrize("normalize", ["no", "yes"])
@pytest.mark.parametrize("graph", [drawn(), weighted(1, directed=True), drawn(2, count=70)])
def test_blocks_and_their_order_change_no_bit(graph, normalize, projection):
    chosen = options(projection=projection, normalize=normalize)
    once = whole(graph, chosen, [range(D)])
    assert np.isfinite(once).all()
    for width in (1, 3, 8, 15):
        blocks = [range(i, min(i + width, D)) for i in range(0, D, width)]
        for turned in (False, True):
            made = whole(graph, chosen, blocks, turned=turned)
            np.testing.assert_array_equal(made, once)


@pytest.mark.parametrize(("work", "count"), [(1, 512), (24 * 1000 * 50, 11), (1 << 40, 1)])
def test_blocks_hold_every_column_once_within_the_work(work, count):
    blocks = blocks_of(1000, 512, work)
    assert [c for block in blocks for c in block] == list(range(512))
    assert len(blocks) == count
    assert max(map(len, blocks)) * 24 * 1000 <= max(work, 24 * 1000)


@pytest.mark.parametrize("normalize", ["no", "yes"])
def test_narrow_blocks_take_little_memory(normalize):
    """Three arrays of a block, and what a few rows take; whole, there would be three of 32 MB."""
    N, wide = 1 << 15, 128
    chosen = options(dimensions=wide, normalize=normalize)
    walk = walk_of(canonical(drawn(N=N, E=N)))
    out = np.zeros((N, wide), np.float32)
    squares = np.ones((len(chosen.weights), N)) if normalize == "yes" else None
    peaks = []
    for width in (4, wide):
        tracemalloc.start()
        filled(walk, chosen, range(width), out, squares)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    block = 8 * 4 * N
    assert peaks[0] < 5.5 * block, "narrow: rows are added a part at a time, too"
    assert peaks[1] > 20 * peaks[0] / 5.5


def test_large_arrays_lie_in_a_file_that_nobody_else_sees(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small, large = scratch.scratch((3, 5), large=61), scratch.scratch((3, 5), large=60)
    assert not isinstance(small, np.memmap)
    assert isinstance(large, np.memmap)
    for array in (small, large):
        assert (array.shape, array.dtype, array.max()) == ((3, 5), np.float32, 0)
        array[:] = 7
        assert array.sum() == 105
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_told(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Unavailable, match=r"no room for 400 bytes in .*No space left.*TMPDIR"):
        scratch.scratch((10, 10), large=1)
