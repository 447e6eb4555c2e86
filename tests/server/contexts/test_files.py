"""Training sets and states as files: safetensors that say exactly what they were given."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from foretoken.errors import DataLoss, InternalError
from foretoken.models.contract import Context
from foretoken.models.tasks import TabularRequest
from foretoken.server.contexts import states, tables
from foretoken.server.contexts.forms import from_bytes
from foretoken.server.contexts.identity import canonical


def full_table() -> TabularRequest:
    text = np.empty(3, object)
    text[:] = ["ä\U0001f600", None, ""]
    train = {
        "f": np.array([1.5, np.nan, -np.inf]),
        "i": np.array([1, -(2**62), 3]),
        "b": np.array([True, False, True]),
        "s": text,
    }
    options = {"members": 3, "share": 0.5, "mode": "x"}
    target = np.array(["no", "yes", "no"])
    return canonical(TabularRequest({}, train, target, frozenset({"i"}), options))


def test_a_table_survives_its_bytes():
    before = full_table()
    after = from_bytes(tables.to_bytes("ctx-1", before), "it")
    assert list(after.train) == list(before.train)
    for name, column in before.train.items():
        assert after.train[name].dtype == column.dtype
        np.testing.assert_array_equal(after.train[name], column)
    np.testing.assert_array_equal(after.target, before.target)
    assert (after.categorical, dict(after.options)) == (before.categorical, dict(before.options))


def test_equal_tables_of_two_contexts_are_different_bytes():
    assert tables.to_bytes("ctx-1", full_table()) != tables.to_bytes("ctx-2", full_table())
    assert tables.to_bytes("ctx-1", full_table()) == tables.to_bytes("ctx-1", full_table())


@pytest.mark.parametrize("data", [b"", b"no tensors", tables.to_bytes("c", full_table())[:-1]])
def test_other_bytes_are_no_table(data):
    with pytest.raises(DataLoss, match="it cannot be read"):
        from_bytes(data, "it")


def a_context() -> Context:
    rng = np.random.default_rng(0)
    arrays = {"about": np.frombuffer(b"{}", np.uint8), "n": np.array(3), "none": np.empty((0, 2))}
    state = {
        "k0": rng.standard_normal((2, 5, 3)).astype(np.float32),
        "half": rng.standard_normal((2, 3)).astype(np.float16),
        "bits": np.arange(2, dtype=np.uint16),
        "n": np.array([5, 4]),
    }
    return Context(arrays, (state, {"k0": np.asfortranarray(np.ones((1, 5, 3), np.float32))}))


def test_a_context_survives_its_file(tmp_path):
    before, path = a_context(), tmp_path / "state"
    path.write_bytes(read(before))
    after = states.opened(path, 7)
    for one, other in zip(
        (before.arrays, *before.states), (after.arrays, *after.states), strict=True
    ):
        assert set(one) == set(other)
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])
    assert (states.members(after), states.nbytes(after)) == (3, states.nbytes(before))


def read(context: Context, size: int = 7) -> bytes:
    stream = states.stream("ctx-1", 7, context)
    return b"".join(iter(lambda: stream.read(size), b""))


def test_what_is_opened_lies_in_the_file_and_cannot_be_written(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(read(a_context()))
    keys = states.opened(path, 7).states[0]["k0"]
    assert not keys.flags.owndata
    assert keys.ctypes.data % keys.itemsize == 0
    with pytest.raises(ValueError, match="read-only"):
        keys[0] = 1


def test_others_can_read_the_file(tmp_path):
    path = tmp_path / "state"
    path.write_bytes(read(a_context(), 1 << 20))
    np.testing.assert_array_equal(load_file(path)["s0/k0"], a_context().states[0]["k0"])


def test_equal_states_of_two_contexts_are_different_files():
    one, other = (b"".join(states.stream(name, 7, a_context())) for name in ("ctx-1", "ctx-2"))
    assert len(one) == len(other)
    assert one != other


def test_what_is_no_number_is_not_kept():
    with pytest.raises(InternalError, match="a/classes of a context is"):
        read(Context({"classes": np.array(["a"])}, ()))


def test_a_file_of_other_tensors_is_no_context(tmp_path):
    save_file({"weight": np.ones(2, np.float32)}, tmp_path / "state", {"predictor": "7"})
    with pytest.raises(DataLoss, match="'weight', which belongs to no context"):
        states.opened(tmp_path / "state", 7)


@pytest.mark.parametrize(("about", "said"), [({"predictor": "6"}, "version 6"), (None, "unknown")])
def test_a_file_that_other_logic_made_is_not_opened(tmp_path, about, said):
    save_file({"a/n": np.ones(2)}, tmp_path / "state", about)
    with pytest.raises(DataLoss, match=f"{said} of the predictor; it is 7 now"):
        states.opened(tmp_path / "state", 7)
