"""Importing the authors' weights: the same answers, and refusals of everything else."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foretoken.errors import InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import family
from foretoken.models.lcpfn.official import convert
from foretoken.server.runtimes import runtime


@pytest.fixture(scope="module")
def fixture(shared_data):
    return np.load(shared_data / "parity/lcpfn_small_random.npz")


@pytest.fixture(scope="module")
def state(fixture):
    names = [name for name in fixture.files if name.startswith("sd/")]
    return {name.removeprefix("sd/"): torch.from_numpy(fixture[name]) for name in names}


def _check(folder, fixture):
    artefact = Artefact.read(folder)
    executable = runtime("torch").load(artefact, family("lcpfn"), threads=1)
    y = fixture["fwd/c20/y"].T  # [8, 20]
    steps = np.tile(np.arange(1, 101, dtype=np.float32), (8, 1))
    inputs = {"steps": steps[:, :20], "values": y, "n": np.full(8, 20), "at": steps[:, 20:]}
    logits = executable.run("forward", inputs)["logits"]
    np.testing.assert_allclose(logits, fixture["fwd/c20/logits"].transpose(1, 0, 2), atol=1e-4)


def test_a_torch_file_of_tensors_is_imported(tmp_path, state, fixture):
    torch.save(state, tmp_path / "model.pt")
    convert(tmp_path / "model.pt", tmp_path / "out", heads=2)
    _check(tmp_path / "out", fixture)


def test_a_checkpoint_tuple_with_a_prefix_is_imported(tmp_path, state, fixture):
    prefixed = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save((prefixed, None, {"emsize": 64}), tmp_path / "model.cpkt")
    convert(tmp_path / "model.cpkt", tmp_path / "out", heads=2)
    _check(tmp_path / "out", fixture)


def test_safetensors_are_imported(tmp_path, state, fixture):
    save_file(state, tmp_path / "model.safetensors")
    convert(tmp_path / "model.safetensors", tmp_path / "out", heads=2)
    _check(tmp_path / "out", fixture)


class Boom:
    """Would run code if it were ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_pickled_object_is_refused_and_never_run(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(pickle.dumps(Boom()))
    with pytest.raises(InvalidInput, match="state_dict"):
        convert(path, tmp_path / "out", heads=2)
    assert not (tmp_path / "out").exists()


def test_a_pickled_module_is_refused_with_a_cure(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(InvalidInput, match=r"state_dict\(\)"):
        convert(tmp_path / "model.pt", tmp_path / "out", heads=2)


@pytest.mark.parametrize("change", ["lacks", "misshapes", "adds"])
def test_another_models_tensors_are_refused_by_name(tmp_path, state, change):
    name = "transformer_encoder.layers.1.linear1.weight"
    other = dict(state)
    if change == "lacks":
        del other[name]
    elif change == "misshapes":
        other[name] = other[name][:, :-1].contiguous()
    else:
        other["transformer_encoder.layers.1.linear1.extra"] = torch.zeros(1)
    save_file(other, tmp_path / "model.safetensors")
    with pytest.raises(InvalidInput, match=r"blocks\.1\.mlp_in"):
        convert(tmp_path / "model.safetensors", tmp_path / "out", heads=2)


def test_a_list_of_tensors_is_no_state_dict(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "model.pt")
    with pytest.raises(InvalidInput, match="not a state dict"):
        convert(tmp_path / "model.pt", tmp_path / "out", heads=2)
