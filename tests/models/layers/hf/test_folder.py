"""Folders in Hugging Face's layout: read whole, or refused with a cure."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from foretoken.errors import InvalidInput
from foretoken.models.layers.hf.folder import Folder, without_prefix
from foretoken.models.layers.hf.weights import renamed


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "size": 3}))
    return tmp_path


def _shards(folder, files):
    for file, tensors in files.items():
        save_file(tensors, folder / file)
    said = {name: file for file, tensors in files.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": said}))


def test_one_file_and_several_are_the_same(folder):
    a, b = torch.arange(3.0), torch.ones(2, 2)
    save_file({"a": a, "b": b}, folder / "model.safetensors")
    whole = Folder.read(folder).tensors()
    (folder / "model.safetensors").unlink()
    _shards(folder, {"model-1.safetensors": {"a": a}, "model-2.safetensors": {"b": b}})
    parts = Folder.read(folder).tensors()
    assert whole.keys() == parts.keys() == {"a", "b"}
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_shard_that_is_missing_is_named(folder):
    _shards(folder, {"model-1.safetensors": {"a": torch.ones(1)}})
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(InvalidInput, match="model-1"):
        Folder.read(folder).tensors()


@pytest.mark.parametrize("file", ["../model.safetensors", "/etc/passwd", 3])
def test_shards_outside_of_the_folder_are_refused(folder, file):
    said = {"weight_map": {"a": file}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(said))
    with pytest.raises(InvalidInput, match="same folder"):
        Folder.read(folder).tensors()


def test_pickled_weights_are_never_loaded(folder):
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InvalidInput, match="never loaded"):
        Folder.read(folder).tensors()


def test_damaged_files_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InvalidInput, match="safetensors"):
        Folder.read(folder).tensors()
    (folder / "config.json").write_text("{")
    with pytest.raises(InvalidInput, match=r"config\.json"):
        Folder.read(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InvalidInput, match="no Hugging Face folder"):
        Folder.read(folder)


def test_what_is_accepted_is_said(folder):
    read = Folder.read(folder)
    assert read.expect_type(("bert", "qwen2")) == "bert"
    with pytest.raises(InvalidInput, match=r"'bert'.*accepted are llama, qwen2"):
        read.expect_type(("llama", "qwen2"))
    assert (read.size("size"), read.size("other", 5)) == (3, 5)
    for name in ("other", "model_type"):
        with pytest.raises(InvalidInput, match=name):
            read.size(name)


def test_a_prefix_is_taken_off_where_it_is():
    one, two = torch.ones(1), torch.ones(2)
    bare = without_prefix({"model.norm": one, "lm_head": two}, ("model.",))
    assert bare.keys() == {"norm", "lm_head"}
    assert without_prefix({"norm": one}, ("model.",)).keys() == {"norm"}
    with pytest.raises(InvalidInput, match="with and without"):
        without_prefix({"model.norm": one, "norm": two}, ("model.",))


def test_tensors_are_renamed_and_nothing_is_left_out_in_silence(tmp_path):
    theirs = {"q": torch.zeros(2, 3), "head.weight": torch.ones(4)}
    made = renamed(tmp_path, theirs, {"query": "q"}, ("head.*",))
    assert made.keys() == {"query"}
    assert torch.equal(made["query"], theirs["q"])
    with pytest.raises(InvalidInput, match=r"head\.weight"):
        renamed(tmp_path, theirs, {"query": "q"}, ())
    with pytest.raises(InvalidInput, match=r"lacks.*v"):
        renamed(tmp_path, theirs, {"query": "q", "value": "v"}, ("head.*",))
