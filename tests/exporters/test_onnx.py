"""The ONNX exporter: weightless, reproducible, dynamic; what does not export is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from foretoken.errors import DataLoss, InvalidInput, Unsupported
from foretoken.exporters.modules import load_module
from foretoken.exporters.names import input_names, output_names
from foretoken.exporters.onnx import OPSET, export
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.contract import Graph, Tensor
from foretoken.server.runtimes.onnx import OnnxRuntime
from tests.exporters.single import Single, saved
from tests.published import SUBJECTS, randomised
from tests.toys import TOYS

ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = {"deltanet": 16_384}  # bytes: which steps of a chunk see which


def initialisers(path: Path) -> dict[str, onnx.TensorProto]:
    graph = onnx.load_model_from_string(path.read_bytes()).graph
    return {tensor.name: tensor for tensor in graph.initializer}


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_graphs_carry_no_weights(published, name):
    artefact = published(name)
    stored = set(load_file(artefact.files[WEIGHTS]))
    for graph in SUBJECTS[name].graphs(artefact.config):
        found = initialisers(artefact.files[f"{graph.name}.onnx"])
        outside = {n for n, t in found.items() if t.data_location == onnx.TensorProto.EXTERNAL}
        assert outside == set(artefact.export[graph.name]["weights"])
        assert outside <= stored
        assert outside
        own = sum(len(t.SerializeToString()) for n, t in found.items() if n not in outside)
        assert own < CONSTANTS.get(name, 4096), "constants only"


@pytest.mark.parametrize("name", [n for n, f in SUBJECTS.items() if f.graphs(f.small)])
def test_every_weight_of_the_module_is_in_some_graph(published, name):
    artefact = published(name)
    used = {w for graph in artefact.export.values() for w in graph["weights"]}
    module = load_module(artefact, SUBJECTS[name])
    assert {n for n, _ in module.named_parameters()} <= used


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_a_graph_says_its_letters_and_no_machine(published, name):
    artefact = published(name)
    for graph in SUBJECTS[name].graphs(artefact.config):
        data = artefact.files[f"{graph.name}.onnx"].read_bytes()
        assert not any(word in data for word in (b".py", b"torch", b"site-packages"))
        model = onnx.load_model_from_string(data)
        assert not model.graph.value_info
        said = artefact.export[graph.name]
        assert (said["opset"], said["ir_version"]) == (OPSET, model.ir_version)
        tensors = (*graph.inputs, *graph.reads, *graph.outputs, *graph.writes)
        for value, tensor in zip([*model.graph.input, *model.graph.output], tensors, strict=True):
            dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
            assert dims == list(tensor.dims)


def test_the_same_graph_has_the_same_bytes_in_another_process(tmp_path, published):
    artefact = published("recurrent")
    code = f"""
from pathlib import Path
from foretoken.exporters.onnx import export
from foretoken.models.artefact import Artefact
from tests.toys import TOYS
export(Artefact.read(Path({str(artefact.files[WEIGHTS].parent)!r})), TOYS["recurrent"],
       Path({str(tmp_path)!r}))
"""
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    for name in ("step.onnx", "scan.onnx"):
        digests = [
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (artefact.files[name], tmp_path / name)
        ]
        assert digests[0] == digests[1]


def test_versions_that_differ_in_weights_have_the_same_graphs(tmp_path, published):
    family = TOYS["generative"]
    other = randomised(family, tmp_path)
    weights = {k: v * 0.5 for k, v in load_file(other.files[WEIGHTS]).items()}
    save_file(weights, other.files[WEIGHTS])
    exported, first = export(other, family, tmp_path), published("generative")
    for name in ("prefill.onnx", "decode.onnx"):
        assert exported.files[name].read_bytes() == first.files[name].read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_16_bits_are_used_as_they_are_stored(tmp_path, dtype):
    family = Single(lambda: nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8)))
    artefact = saved(family, tmp_path, dtype)
    exported = export(artefact, family, tmp_path)
    executable = OnnxRuntime().load(exported, family, 1)
    module = load_module(artefact, family)
    for example in family.examples({}, "forward"):
        wanted = module(torch.from_numpy(example["x"])).detach().numpy()
        made = executable.run("forward", example)["y"]
        np.testing.assert_allclose(made, wanted, atol=1e-5)


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.first(x)))


@pytest.mark.parametrize("kept", ["first.weight", "last.weight"])
def test_tied_weights_are_stored_once_under_either_name(tmp_path, kept):
    family = Single(_Tied)
    weight = family.module({}).state_dict()["first.weight"]
    save_file({kept: weight.clone()}, tmp_path / WEIGHTS)
    artefact = Artefact(family.name, {}, {WEIGHTS: tmp_path / WEIGHTS})
    exported = export(artefact, family, tmp_path)
    assert exported.export["forward"]["weights"] == [kept]
    (example, *_) = family.examples({}, "forward")
    made = OnnxRuntime().load(exported, family, 1).run("forward", example)["y"]
    x = torch.from_numpy(example["x"])
    wanted = (torch.tanh(x @ weight.T) @ weight.T).numpy()
    np.testing.assert_allclose(made, wanted, atol=1e-5)


class _Many(nn.Module):
    """Twelve inputs [B, N_i], each of a length of its own -> y [B, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(sum(x.sum(1, keepdim=True) for x in inputs))


class _ManyLetters(Single):
    def graphs(self, config):
        inputs = tuple(Tensor(f"x{i}", "float32", ("B", f"N{i}")) for i in range(12))
        return (Graph("forward", inputs, (Tensor("y", "float32", ("B", 1)),)),)


def test_a_graph_may_have_many_letters(tmp_path):
    family = _ManyLetters(_Many)
    artefact = export(saved(family, tmp_path), family, tmp_path)
    rng = np.random.default_rng(0)
    given = {f"x{i}": rng.random((2, 1 + i % 5), np.float32) for i in range(12)}
    made = OnnxRuntime().load(artefact, family, 1).run("forward", given)["y"]
    with torch.no_grad():
        module = load_module(artefact, family)
        wanted = module(*map(torch.from_numpy, given.values())).numpy()
    np.testing.assert_allclose(made, wanted, atol=1e-5)


class _Function(nn.Module):
    """A linear layer, then whatever is to be tried."""

    def __init__(self, then) -> None:
        super().__init__()
        self.linear, self.then = nn.Linear(8, 8), then

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.then(self.linear(x))


UNEXPORTABLE = {
    "a length read into Python": (lambda y: y + torch.ones(3, 1), ("B", "N", 8), "float32"),
    "a branch on data": (lambda y: y if y.sum() > 0 else -y, ("B", "N", 8), "float32"),
    "another dtype": (lambda y: y.double(), ("B", "N", 8), "float32"),
    "two outputs": (lambda y: (y, y), ("B", "N", 8), "float32"),
    "an axis too few": (lambda y: y[:, :, 0], ("B", "N", 8), "float32"),
    "a fixed output": (lambda y: y.sum(1, keepdim=True), ("B", "N", 8), "float32"),
    "a large constant": (
        lambda y: y @ torch.from_numpy(np.random.default_rng(0).random((8, 4096), np.float32)),
        ("B", "N", 4096),
        "float32",
    ),
}


@pytest.mark.parametrize("what", list(UNEXPORTABLE))
def test_what_does_not_export_is_refused(tmp_path, what):
    then, y, dtype = UNEXPORTABLE[what]
    family = Single(lambda: _Function(then), y, dtype)
    with pytest.raises(Unsupported, match=r"graph|constant"):
        export(saved(family, tmp_path), family, tmp_path)


def test_weights_of_another_shape_are_refused(tmp_path):
    family = Single(lambda: nn.Linear(8, 8))
    artefact = saved(Single(lambda: nn.Linear(8, 4)), tmp_path)
    with pytest.raises(InvalidInput, match="size mismatch"):
        export(artefact, family, tmp_path)


def test_truncated_weights_are_data_loss(tmp_path):
    family = Single(lambda: nn.Linear(8, 8))
    artefact = saved(family, tmp_path)
    path = artefact.files[WEIGHTS]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataLoss, match=r"model\.safetensors"):
        export(artefact, family, tmp_path)


def test_a_tensor_that_is_read_and_written_leaves_under_another_name():
    state = Tensor("m", "float32", ("B", 2))
    graph = Graph("step", (Tensor("x", "float32", ("B",)),), (), reads=(state,), writes=(state,))
    assert input_names(graph) == ["x", "m"]
    assert output_names(graph) == ["m.out"]
