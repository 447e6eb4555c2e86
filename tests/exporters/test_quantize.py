"""int8 children: smaller, row by row, with their loss measured."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from foretoken.errors import Unsupported
from foretoken.exporters.onnx import export
from foretoken.exporters.quantize import quantize
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.publish import quantised
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime
from tests.exporters.single import Single, saved
from tests.published import SUBJECTS

# Toys whose matrices are large enough, and whatever the catalog finds.
WITHOUT = {"recurrent", "cola", "fastrp", "static_encoder"}  # matrices that are worth it
NAMES = [name for name in SUBJECTS if name not in WITHOUT]


@pytest.fixture(scope="module")
def child(tmp_path_factory, published):
    """``child(name)`` is the int8 child of a published family."""
    made: dict[str, Artefact] = {}

    def child(name: str) -> Artefact:
        if name not in made:
            out = tmp_path_factory.mktemp(name) / "int8"
            made[name] = quantised(published(name), out, SUBJECTS[name])
        return made[name]

    return child


@pytest.mark.parametrize("name", NAMES)
def test_matrices_are_stored_in_int8_and_nothing_twice(child, published, name):
    before, after = (load_file(a.files[WEIGHTS]) for a in (published(name), child(name)))
    int8 = {n for n in after if n.endswith(".int8")}
    replaced = {n.removesuffix(".int8").removesuffix(".plain") for n in int8}
    assert replaced
    for found in int8:
        whole, scale = after[found], after[found.removesuffix("int8") + "scale"]
        matrix = found.removesuffix(".int8").removesuffix(".plain")
        assert whole.dtype == np.int8
        assert np.abs(whole.astype(np.int32)).max() == 127
        wide, wanted = whole.astype(np.float32) * scale, before[matrix]
        steps = [np.abs(wide - w) / scale for w in (wanted, wanted.T) if w.shape == wide.shape]
        assert min(s.max() for s in steps) <= 0.5 + 1e-5
    assert sum(a.nbytes for a in after.values()) < sum(a.nbytes for a in before.values())
    graphs = SUBJECTS[name].graphs(published(name).config)
    used = {w for g in graphs for w in child(name).export[g.name]["weights"]}
    lost = set(before) - set(after)
    assert lost <= replaced
    assert not lost & used


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_stored_and_is_what_running_it_shows(child, published, name):
    family, artefact = SUBJECTS[name], child(name)
    assert artefact.precision == "int8"
    assert json.loads(json.dumps(artefact.description(), allow_nan=False))
    before, after = (OnnxRuntime().load(a, family, 1) for a in (published(name), artefact))
    for graph in family.graphs(artefact.config):
        loss = artefact.export[graph.name]["loss"]
        # Most, not all: scores of hundreds turn a rounding into another choice.
        assert np.median([example["rms"] for example in loss["examples"]]) < 0.1
        largest = max(
            np.abs(before.run(graph.name, e)[t.name] - after.run(graph.name, e)[t.name]).max()
            for e in family.examples(artefact.config, graph.name)
            for t in (*graph.outputs, *graph.writes)
        )
        assert loss["largest"] == pytest.approx(float(largest), rel=1e-6)
    assert any(artefact.export[graph]["loss"]["largest"] > 0 for graph in artefact.export)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_company(child, name):
    family, artefact = SUBJECTS[name], child(name)
    executable = OnnxRuntime().load(artefact, family, 1)
    for graph in family.graphs(artefact.config):
        for example in family.examples(artefact.config, graph.name):
            together = executable.run(graph.name, example)
            for i in range(len(next(iter(example.values())))):
                alone = executable.run(graph.name, {k: v[i : i + 1] for k, v in example.items()})
                for tensor, array in alone.items():
                    np.testing.assert_allclose(
                        together[tensor][i : i + 1], array, rtol=1e-5, atol=1e-5
                    )


@pytest.mark.parametrize("name", NAMES)
def test_int8_graphs_are_weightless_too(child, name):
    artefact = child(name)
    stored = load_file(artefact.files[WEIGHTS])
    for graph in SUBJECTS[name].graphs(artefact.config):
        model = onnx.load_model_from_string(artefact.files[f"{graph.name}.onnx"].read_bytes())
        outside = {
            t.name: list(t.dims)
            for t in model.graph.initializer
            if t.data_location == onnx.TensorProto.EXTERNAL
        }
        assert sorted(outside) == artefact.export[graph.name]["weights"]
        assert all(list(stored[n].shape) == dims for n, dims in outside.items())


def _wide():
    return Single(lambda: nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 32), nn.Linear(32, 8)))


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    family = _wide()
    return family, export(saved(family, folder), family, folder)


def test_the_arithmetic_is_that_of_8_bits_by_row_and_column(tmp_path, wide):
    family, artefact = wide
    child = quantize(artefact, family, tmp_path)
    executable = OnnxRuntime().load(child, family, 1)
    plain, stored = load_file(artefact.files[WEIGHTS]), load_file(child.files[WEIGHTS])
    assert set(stored) - set(plain) == {"1.weight.int8", "1.weight.scale"}
    for example in family.examples({}, "forward"):
        h = example["x"] @ plain["0.weight"].T + plain["0.bias"]
        step = np.abs(h).max(-1, keepdims=True) / 127
        whole = np.rint(h / step).astype(np.int32) @ stored["1.weight.int8"].astype(np.int32)
        h = whole * step * stored["1.weight.scale"] + plain["1.bias"]
        wanted = h @ plain["2.weight"].T + plain["2.bias"]
        got = executable.run("forward", example)["y"]
        # A value that lies between two steps may fall to either: by one step of one product.
        np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_rows_of_zeros_and_columns_of_zeros_stay_zero(tmp_path, wide):
    family, artefact = wide
    plain = load_file(artefact.files[WEIGHTS])
    plain = {n: np.zeros_like(w) if n.endswith("bias") else w.copy() for n, w in plain.items()}
    plain["1.weight"][5] = 0
    save_file(plain, tmp_path / WEIGHTS)
    files = {**artefact.files, WEIGHTS: tmp_path / WEIGHTS}
    (tmp_path / "int8").mkdir()
    child = quantize(replace(artefact, files=files), family, tmp_path / "int8")
    executable = OnnxRuntime().load(child, family, 1)
    made = executable.run("forward", {"x": np.zeros((2, 3, 8), np.float32)})
    np.testing.assert_array_equal(made["y"], 0)
    assert (load_file(child.files[WEIGHTS])["1.weight.int8"][:, 5] == 0).all()


def test_no_rows_are_no_rows(tmp_path, wide):
    family, artefact = wide
    executable = OnnxRuntime().load(quantize(artefact, family, tmp_path), family, 1)
    made = executable.run("forward", {"x": np.zeros((2, 0, 8), np.float32)})
    assert made["y"].shape == (2, 0, 8)


class _BothWays(nn.Module):
    """One matrix [32, 16], multiplied as it is and transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.tied = nn.Parameter(torch.randn(32, 16))
        self.last = nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = torch.tanh(torch.nn.functional.linear(self.first(x), self.tied))
        return self.last(inner @ self.tied)


def test_a_weight_used_both_ways_is_stored_both_ways(tmp_path):
    family = Single(_BothWays)
    artefact = export(saved(family, tmp_path), family, tmp_path)
    (tmp_path / "int8").mkdir()
    child = quantize(artefact, family, tmp_path / "int8")
    stored = load_file(child.files[WEIGHTS])
    assert stored["tied.int8"].shape == (16, 32)
    assert stored["tied.plain.int8"].shape == (32, 16)
    assert stored["tied.scale"].shape == (32,)
    assert stored["tied.plain.scale"].shape == (16,)
    assert "tied" not in stored
    before, after = (OnnxRuntime().load(a, family, 1) for a in (artefact, child))
    for example in family.examples({}, "forward"):
        wanted, made = (e.run("forward", example)["y"] for e in (before, after))
        np.testing.assert_allclose(made, wanted, atol=0.05 * np.abs(wanted).max())


def test_weights_to_be_kept_are_kept(tmp_path, wide):
    family, artefact = wide
    with pytest.raises(Unsupported, match="worth quantising"):
        quantize(artefact, family, tmp_path, keep={"1.weight"})


def test_what_is_too_small_is_refused(tmp_path, published):
    with pytest.raises(Unsupported, match="worth quantising"):
        quantised(published("recurrent"), tmp_path / "out", SUBJECTS["recurrent"])
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_exported_is_refused(tmp_path):
    family = _wide()
    with pytest.raises(Unsupported, match="export the version first"):
        quantize(saved(family, tmp_path), family, tmp_path)


def test_int8_is_not_quantised_again_nor_run_by_torch(tmp_path, child):
    with pytest.raises(Unsupported, match="int8"):
        quantised(child("stateless"), tmp_path / "out", SUBJECTS["stateless"])
    with pytest.raises(Unsupported, match="onnx runtime"):
        TorchRuntime("cpu").load(child("stateless"), SUBJECTS["stateless"], 1)


def test_a_metric_is_measured_on_both_and_stored(tmp_path, published):
    family, artefact = SUBJECTS["stateless"], published("stateless")
    example = next(iter(family.examples(artefact.config, "forward")))

    def metric(run):
        return {"first": float(run("forward", example)["vector"][0, 0])}

    child = quantised(artefact, tmp_path / "out", family, metric)
    said = child.training["quantised"]
    assert said["before"] != said["after"]
    assert said["before"]["first"] == pytest.approx(said["after"]["first"], abs=0.05)
