"""Snapshots as bytes: bit for bit there and back, and nothing else is ever read as one."""

from __future__ import annotations

import hashlib
import json
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn

from foretoken.errors import DataLoss, FailedPrecondition, InternalError, InvalidInput
from foretoken.models.contract import Tensor
from foretoken.server.sessions import state
from foretoken.server.sessions.state import Snapshot, expect_fits, from_bytes, to_bytes
from tests.server.sessions.states import MANIFEST, snapshot

DTYPES = st.sampled_from([np.float32, np.float64, np.int64, np.uint16, np.bool_])
ARRAYS = DTYPES.flatmap(lambda d: hn.arrays(d, hn.array_shapes(min_dims=0, min_side=0, max_side=5)))
OPTIONS = st.dictionaries(
    st.text(max_size=8), st.text(max_size=8) | st.floats(allow_nan=False, allow_infinity=False)
)
SIGNATURE = (Tensor("m", "float32", ("B", 2)), Tensor("w", "float32", ("B", 2, 3)))


def same(a: Snapshot, b: Snapshot) -> bool:
    """Whether all bits are."""
    assert a.arrays.keys() == b.arrays.keys()
    for name, array in a.arrays.items():
        other = b.arrays[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert array.tobytes() == other.tobytes()
    said = [{**vars(each), "arrays": None} for each in (a, b)]
    return said[0] == said[1]


def forged(about: bytes, arrays: bytes) -> bytes:
    """Bytes with a right checksum and these contents."""
    rest = len(about).to_bytes(4, "little") + about + arrays
    digest = hashlib.sha256(rest).digest()
    return state._HEADER.pack(state.MAGIC, state.FORMAT, len(rest), digest) + rest


def parts(data: bytes) -> tuple[dict, bytes]:
    rest = data[state._HEADER.size :]
    end = 4 + int.from_bytes(rest[:4], "little")
    return json.loads(rest[4:end]), rest[end:]


@given(arrays=st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=4), options=OPTIONS)
@settings(deadline=None)
def test_a_snapshot_comes_back_bit_for_bit(arrays, options):
    assume("__metadata__" not in arrays)  # safetensors' own
    made = Snapshot("m", 3, MANIFEST, 2, 2**53 - 1, options, arrays)
    data = to_bytes(made)
    assert same(made, from_bytes(data))
    assert to_bytes(from_bytes(data)) == data


def test_numbers_that_compare_badly_come_back_too():
    odd = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1], np.uint32).view(np.float32)
    back = from_bytes(to_bytes(snapshot(arrays={"a": odd}))).arrays["a"]
    assert back.view(np.uint32).tolist() == odd.view(np.uint32).tolist()


def test_the_same_state_is_the_same_bytes_however_it_lies():
    square = np.arange(12, dtype=np.float32).reshape(3, 4)
    plain = snapshot(
        arrays={"a": square, "b": np.int64(3) * np.ones((), np.int64)}, options={"h": 3}
    )
    turned = snapshot(
        arrays={
            "b": np.array(3, ">i8"),
            "a": np.repeat(square, 2, axis=1)[:, ::2].T.copy().T,
        },
        options={"h": 3.0},
    )
    assert to_bytes(plain) == to_bytes(turned)
    assert to_bytes(plain) != to_bytes(snapshot(step=8, arrays=plain.arrays, options={"h": 3}))


def test_what_cannot_be_kept_is_refused():
    for wrong in (
        snapshot(arrays={"a": np.array(["text"])}),
        snapshot(arrays={"a": np.array([None])}),
        snapshot(options={"h": math.nan}),
        snapshot(options={"h": math.inf}),
    ):
        with pytest.raises(InternalError):
            to_bytes(wrong)


def test_cut_off_anywhere():
    data = to_bytes(snapshot())
    for length in range(1, len(data)):
        with pytest.raises(DataLoss, match="cut off"):
            from_bytes(data[:length])
    with pytest.raises(InvalidInput, match="0 bytes are not a snapshot"):
        from_bytes(b"")
    with pytest.raises(DataLoss, match="longer than it was"):
        from_bytes(data + b"\0")


def test_changed_anywhere():
    data = to_bytes(snapshot())
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            kind = InvalidInput if place < len(state.MAGIC) + 4 else DataLoss
            with pytest.raises(kind):
                from_bytes(bytes(changed))


@given(st.binary(max_size=200))
def test_anything_else_is_no_snapshot(data):
    with pytest.raises(InvalidInput if data[:1] != b"\x89" else (InvalidInput, DataLoss)):
        from_bytes(data)


def test_a_newer_format_is_named():
    data = bytearray(to_bytes(snapshot()))
    data[8] = 2
    with pytest.raises(InvalidInput, match="format 2; this release reads 1: upgrade"):
        from_bytes(bytes(data))


@given(about=st.binary(max_size=64), arrays=st.binary(max_size=64))
def test_forged_contents_are_no_snapshot(about, arrays):
    with pytest.raises(InvalidInput, match="no snapshot that this release reads"):
        from_bytes(forged(about, arrays))


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": True},
        {"step": 1.0},
        {"step": 2**53},
        {"model": None},
        {"options": []},
        {"options": {"h": None}},
        {"options": {"h": True}},
        {"options": {"h": math.nan}},
        {"surprise": 1},
    ],
)
def test_forged_metadata_is_no_snapshot(change):
    about, arrays = parts(to_bytes(snapshot()))
    assert same(from_bytes(forged(json.dumps(about).encode(), arrays)), snapshot())
    with pytest.raises(InvalidInput):
        from_bytes(forged(json.dumps(about | change).encode(), arrays))


def test_forged_sizes_allocate_nothing():
    about, _ = parts(to_bytes(snapshot()))
    said = json.dumps(about).encode()
    cases = [b"[" * 100_000, said[:-1] + b',"options":' + b"[" * 100_000]
    shapes = [[1 << 40], [1 << 62, 4], [1 << 62, 0], [2, 3]]
    tensors = [
        json.dumps({"a": {"dtype": kind, "shape": shape, "data_offsets": [0, 4]}}).encode()
        for shape in shapes
        for kind in ("F32", "BF16", "F8_E5M2", "C64")
    ]
    tracemalloc.start()
    for case in cases:
        with pytest.raises(InvalidInput):
            from_bytes(forged(case, b""))
    for header in tensors:
        with pytest.raises(InvalidInput):
            from_bytes(forged(said, len(header).to_bytes(8, "little") + header + bytes(4)))
    with pytest.raises(InvalidInput):
        from_bytes(forged(said, (1 << 62).to_bytes(8, "little") + b"{}"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


def test_it_fits_its_own_version():
    expect_fits(from_bytes(to_bytes(snapshot())), MANIFEST, 1, SIGNATURE)
    halves = snapshot(arrays={"h": np.zeros(4, np.uint16)})
    expect_fits(halves, MANIFEST, 1, [Tensor("h", "bfloat16", ("B", 4))])


@pytest.mark.parametrize(
    ("manifest", "predictor", "signature", "said"),
    [
        ("sha256:other", 1, SIGNATURE, r"taken of toy:3 \(manifest sha256:a+\).*sha256:other"),
        (MANIFEST, 2, SIGNATURE, "taken of toy:3 by version 1 of its predictor, which is 2"),
        (MANIFEST, 1, SIGNATURE[:1], r"holds m: float32 \[2\], w: float32 \[2, 3\], where"),
        (MANIFEST, 1, (*SIGNATURE, Tensor("v", "int64", ("B",))), r"v: int64 \[\]"),
        (MANIFEST, 1, (Tensor("m", "float64", ("B", 2)), SIGNATURE[1]), r"read m: float64 \[2\]"),
        (MANIFEST, 1, (Tensor("m", "float32", ("B", 3)), SIGNATURE[1]), r"read m: float32 \[3\]"),
        (MANIFEST, 1, (), "read nothing"),
    ],
)
def test_it_fits_no_other(manifest, predictor, signature, said):
    with pytest.raises(FailedPrecondition, match=said):
        expect_fits(snapshot(), manifest, predictor, signature)
