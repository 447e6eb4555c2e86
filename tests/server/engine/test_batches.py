"""Merging calls into batches and taking them apart again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.errors import InvalidInput
from foretoken.models.contract import Tensor
from foretoken.server.engine import batches
from foretoken.server.engine.batches import Extent

TENSORS = (
    Tensor("x", "float32", ("B", "N", 2), pad=-7.0),
    Tensor("n", "int64", ("B",)),
    Tensor("mask", "bool", ("B", "N", "Q"), pad=True),
    Tensor("at", "float64", ("B", 3, "Q")),
)
LETTERS = st.fixed_dictionaries(
    {"B": st.integers(1, 3), "N": st.integers(0, 6), "Q": st.integers(0, 4)}
)


def arrays(sizes, seed):
    rng = np.random.default_rng(seed)
    made = {}
    for t in TENSORS:
        shape = [sizes[d] if isinstance(d, str) else d for d in t.dims]
        made[t.name] = rng.integers(-9, 9, shape).astype(t.dtype)
    return made


@given(st.lists(LETTERS, min_size=1, max_size=6), st.integers(0, 99))
def test_split_undoes_merge(lengths, seed):
    calls = [arrays(sizes, seed + i) for i, sizes in enumerate(lengths)]
    shapes = [batches.sizes(TENSORS, call) for call in calls]
    assert shapes == lengths
    merged = batches.merge(TENSORS, calls, shapes)
    found = batches.sizes(TENSORS, merged)
    assert found["B"] == sum(s["B"] for s in lengths)
    assert all(found[letter] == max(s[letter] for s in lengths) for letter in "NQ")
    for call, part in zip(calls, batches.split(TENSORS, merged, shapes), strict=True):
        assert set(part) == {t.name for t in TENSORS}
        for name, array in part.items():
            assert array.dtype == call[name].dtype
            np.testing.assert_array_equal(array, call[name])


@given(st.lists(LETTERS, min_size=1, max_size=6))
def test_calls_are_stacked_along_any_axis_that_all_tensors_have(lengths):
    tensors = (TENSORS[2], TENSORS[3])
    calls = [{t.name: arrays(sizes, 0)[t.name] for t in tensors} for sizes in lengths]
    shapes = [batches.sizes(tensors, call) for call in calls]
    merged = batches.merge(tensors, calls, shapes, "Q")
    assert batches.sizes(tensors, merged) == batches.joint(shapes, "Q")
    assert merged["at"].shape[2] == sum(s["Q"] for s in lengths)
    for call, part in zip(calls, batches.split(tensors, merged, shapes, "Q"), strict=True):
        for name, array in part.items():
            np.testing.assert_array_equal(array, call[name])


def test_bfloat16_goes_as_its_bits():
    tensors = (Tensor("k", "bfloat16", ("B", "N")),)
    calls = [{"k": np.full((1, n), 0x3F80, np.uint16)} for n in (1, 2)]
    shapes = [batches.sizes(tensors, call) for call in calls]
    merged = batches.merge(tensors, calls, shapes)
    assert merged["k"].tolist() == [[0x3F80, 0], [0x3F80, 0x3F80]]
    with pytest.raises(InvalidInput, match="must be bfloat16"):
        batches.sizes(tensors, {"k": np.zeros((1, 1), np.float32)})


@given(st.lists(LETTERS, min_size=2, max_size=6))
def test_what_is_added_is_padding(lengths):
    calls = [arrays(sizes, 0) for sizes in lengths]
    shapes = [batches.sizes(TENSORS, call) for call in calls]
    merged = batches.merge(TENSORS, calls, shapes)
    for tensor in TENSORS:
        array, pad = merged[tensor.name], np.array(tensor.pad, tensor.dtype)
        kept = sum((call[tensor.name] == pad).sum() for call in calls)
        added = array.size - sum(call[tensor.name].size for call in calls)
        assert (array == pad).sum() == kept + added


EXTENTS = st.builds(Extent, st.integers(1, 3), st.tuples(st.integers(0, 60), st.integers(0, 40)))


def together(extents):
    batch = extents[0]
    for extent in extents[1:]:
        batch = batch.with_(extent)
    return batch


@given(EXTENTS, st.lists(EXTENTS, max_size=12), st.integers(1, 600))
def test_company_keeps_the_budget_and_pads_little(first, others, budget):
    taken = batches.company(first, others, budget)
    assert len(set(taken)) == len(taken)
    own = [first, *(others[i] for i in taken)]
    batch, real = together(own), sum(e.tokens for e in own)
    assert not taken or batch.tokens <= budget
    assert batch.tokens - real <= max(batches.SLACK, batches.WASTE * batch.tokens)


def test_all_that_are_alike_go_together_up_to_the_budget():
    alike = [Extent(1, (30, 20))] * 40
    assert batches.company(alike[0], alike[1:], 1000) == list(range(19))


def test_the_most_alike_come_first():
    others = [Extent(1, (n,)) for n in (200, 101, 90, 300)]
    assert batches.company(Extent(1, (100,)), others, 310) == [1, 2]


def test_calls_whose_letters_differ_are_charged_what_padding_makes_of_them():
    long, wide = Extent(1, (100, 10)), Extent(1, (10, 100))
    assert long.with_(wide).tokens == 400
    assert batches.company(long, [wide, long], 1000) == [1]


def test_little_padding_is_always_worth_it():
    assert batches.company(Extent(1, (10,)), [Extent(1, (30,))], 1000) == [0]
    assert batches.company(Extent(1, (10,)), [Extent(1, (100,))], 1000) == []


def test_a_call_larger_than_the_budget_goes_alone():
    assert batches.company(Extent(1, (100,)), [Extent(1, (100,))], 10) == []


def test_rows_without_lengths_cost_one_token():
    assert Extent.of({"B": 5}) == Extent(5, ())
    assert Extent.of({"B": 5}).tokens == 5
    assert batches.company(Extent(1, ()), [Extent(1, ())] * 5, 3) == [0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": None}, "'n' is missing"),
        ({"x": np.zeros((2, 3), np.float32)}, r"\['B', 'N', 2\], not float32 \[2, 3\]"),
        ({"x": np.zeros((2, 3, 9), np.float32)}, r"not float32 \[2, 3, 9\]"),
        ({"x": np.zeros((2, 3, 2))}, "not float64"),
        ({"n": np.zeros(3, np.int64)}, r"not int64 \[3\].*'B': 2"),
        ({"mask": np.zeros((2, 4, 1), bool)}, "must be bool"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change, message):
    given = {**arrays({"B": 2, "N": 3, "Q": 1}, 0), **change}
    with pytest.raises(InvalidInput, match=message):
        batches.sizes(TENSORS, {k: v for k, v in given.items() if v is not None})
