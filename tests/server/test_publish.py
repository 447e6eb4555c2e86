"""Publishing: what is exported is proven, and a broken export is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from foretoken.errors import AlreadyExists, NotFound, Unsupported
from foretoken.exporters.parity import compare, expect_parity
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.publish import publish, written
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime
from tests.exporters.single import Single, saved
from tests.published import SUBJECTS
from tests.toys import TOYS


@pytest.mark.parametrize("name", list(SUBJECTS))
def test_figures_are_stored_by_graph_and_within_tolerance(published, name):
    artefact, family = published(name), SUBJECTS[name]
    assert json.loads(json.dumps(artefact.description(), allow_nan=False))
    for graph in family.graphs(artefact.config):
        parity = artefact.export[graph.name]["parity"]
        assert 0 <= min(parity["largest"], parity["relative"]) <= graph.tolerance
        assert len(parity["examples"]) == len(list(family.examples(artefact.config, graph.name)))


class _Broken(nn.Module):
    """Computes something else when it is exported."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.linear, self.how = nn.Linear(8, 8), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting():
            return torch.tanh(self.linear(x))
        match self.how:
            case "perturbed weight":
                return torch.tanh(nn.functional.linear(x, self.linear.weight * 1.01))
            case "wrong op":
                return torch.sigmoid(self.linear(x))
            case "not a number":
                return torch.tanh(self.linear(x)) / (x > 9)
            case _:
                return torch.tanh(self.linear(x))


@pytest.mark.parametrize("how", ["perturbed weight", "wrong op", "not a number"])
def test_a_broken_export_is_refused_and_leaves_nothing(tmp_path, how):
    family = Single(lambda: _Broken(how))
    artefact = saved(family, tmp_path / "trained")
    with pytest.raises(Unsupported, match=r"'forward' is refused: on 5 of 5 examples"):
        publish(artefact, tmp_path / "out", family)
    assert [p.name for p in tmp_path.iterdir()] == ["trained"]


def test_the_same_export_is_accepted_when_it_is_not_broken(tmp_path):
    family = Single(lambda: _Broken("not at all"))
    artefact = publish(saved(family, tmp_path / "trained"), tmp_path / "out", family)
    assert artefact == Artefact.read(tmp_path / "out")
    assert set(artefact.files) == {WEIGHTS, "forward.onnx"}


def _differs(artefact: Artefact, other: Artefact, name: str) -> bool:
    family = TOYS[name]
    module = TorchRuntime("cpu").load(artefact, family, 1)
    graphs = OnnxRuntime().load(other, family, 1)
    refused = False
    for graph in family.graphs(artefact.config):
        figures = compare(
            graph,
            lambda e, name=graph.name: module.run(name, e),
            lambda e, name=graph.name: graphs.run(name, e),
            family.examples(artefact.config, graph.name),
        )
        try:
            expect_parity(graph, figures)
        except Unsupported:
            refused = True
    return refused


@pytest.mark.parametrize("name", list(TOYS))
def test_one_perturbed_weight_of_the_file_is_noticed(tmp_path, published, name):
    artefact = published(name)
    weights = load_file(artefact.files[WEIGHTS])
    matrix = next(n for n, w in weights.items() if w.ndim == 2)
    weights[matrix] = weights[matrix] * 1.01
    save_file(weights, tmp_path / WEIGHTS)
    other = replace(artefact, files={**artefact.files, WEIGHTS: tmp_path / WEIGHTS})
    assert not _differs(artefact, artefact, name)
    assert _differs(artefact, other, name)


def test_one_wrong_operator_of_a_graph_is_noticed(tmp_path, published):
    artefact = published("in_context")
    model = onnx.load_model_from_string(artefact.files["query.onnx"].read_bytes())
    node = next(n for n in model.graph.node if n.op_type == "Tanh")
    node.op_type = "Softsign"
    (tmp_path / "query.onnx").write_bytes(model.SerializeToString())
    files = {**artefact.files, "query.onnx": tmp_path / "query.onnx"}
    assert _differs(artefact, replace(artefact, files=files), "in_context")


def test_a_folder_that_exists_is_not_touched(tmp_path, published):
    (tmp_path / "out").mkdir()
    artefact = published("stateless")
    with pytest.raises(AlreadyExists, match="out"):
        publish(artefact, tmp_path / "out", TOYS["stateless"])
    with pytest.raises(AlreadyExists, match="out"):
        written(artefact, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unknown_family_is_not_found(tmp_path, published):
    with pytest.raises(NotFound, match="stateless"):
        publish(published("stateless"), tmp_path / "out")


def test_other_arithmetic_is_not_published(tmp_path, published):
    artefact = replace(published("stateless"), precision="bfloat16")
    with pytest.raises(Unsupported, match="bfloat16"):
        publish(artefact, tmp_path / "out", TOYS["stateless"])


def test_a_copy_holds_what_the_artefact_holds(tmp_path, published):
    artefact = published("stateless")
    copy = written(artefact, tmp_path / "deep" / "out")
    assert copy.description() == artefact.description()
    for name, path in artefact.files.items():
        assert copy.files[name].read_bytes() == path.read_bytes()
    example = next(iter(TOYS["stateless"].examples(artefact.config, "forward")))
    ours, theirs = (
        OnnxRuntime().load(a, TOYS["stateless"], 1).run("forward", example)["vector"]
        for a in (artefact, copy)
    )
    np.testing.assert_array_equal(ours, theirs)
