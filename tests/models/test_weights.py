"""Weights mapped from safetensors: every dtype, no copy, damaged files refused."""

from __future__ import annotations

import gc
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from foretoken.errors import DataLoss
from foretoken.models.weights import mapped

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_are_what_was_saved(tmp_path, dtype):
    rng = np.random.default_rng(0)
    tensors = {
        "matrix": rng.integers(0, 2, (3, 5)).astype(dtype),
        "number": np.array(1, dtype),
        "nothing": np.zeros((0, 4), dtype),
    }
    save_file(tensors, tmp_path / "w")  # blobs have no ending
    found = mapped(tmp_path / "w")
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(found[name].array, array, strict=True)


def test_bfloat16_comes_as_its_bits(tmp_path):
    values = torch.tensor([1.0, -2.5, 3e38])
    save_torch({"w": values.bfloat16()}, tmp_path / "w")
    stored = mapped(tmp_path / "w")["w"]
    assert stored.dtype == "BF16"
    wide = (stored.array.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(wide, values.bfloat16().float().numpy())


def test_arrays_lie_in_the_file_and_keep_it_open(tmp_path):
    path = tmp_path / "w"
    save_file({"w": np.arange(6, dtype=np.float32)}, path)
    array = mapped(path)["w"].array
    assert not array.flags.owndata
    assert not array.flags.writeable
    path.unlink()
    gc.collect()
    np.testing.assert_array_equal(array, np.arange(6))


def test_metadata_is_no_tensor(tmp_path):
    save_file({"w": np.zeros(1)}, tmp_path / "w", metadata={"format": "np"})
    assert set(mapped(tmp_path / "w")) == {"w"}


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 40, -1])
def test_a_truncated_file_is_data_loss(tmp_path, kept):
    path = tmp_path / "w"
    save_file({"w": np.zeros(16)}, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataLoss, match="w cannot be read as safetensors"):
        mapped(path)


def test_missing_files_folders_and_foreign_bytes_are_data_loss(tmp_path):
    (tmp_path / "foreign").write_bytes(b"\x80\x04" + b"x" * 100)
    for path in (tmp_path / "gone", tmp_path, tmp_path / "foreign"):
        with pytest.raises(DataLoss, match="cannot be read as safetensors"):
            mapped(path)


def test_overlapping_tensors_are_data_loss(tmp_path):
    entry = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    header = json.dumps({"a": entry, "b": entry}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    with pytest.raises(DataLoss):
        mapped(tmp_path / "w")


def test_an_unknown_dtype_is_data_loss(tmp_path):
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"0000")
    with pytest.raises(DataLoss, match="'F8_E4M3'; known are BF16"):
        mapped(tmp_path / "w")
