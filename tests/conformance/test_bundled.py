"""Models in the box: whole, small enough, and proven on this machine too."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.catalog import bundled, family
from foretoken.models.tasks import Task
from foretoken.server.runtimes.onnx import OnnxRuntime
from foretoken.server.runtimes.torch import TorchRuntime

LARGEST = 32 * 2**20  # bytes of weights in the wheel

bundles = pytest.mark.parametrize("name", list(bundled()))


@bundles
def test_a_bundled_model_is_complete_and_says_where_it_comes_from(name):
    artefact = Artefact.read(bundled()[name])
    kind = family(artefact.family)
    assert name == artefact.family or name.startswith(f"{artefact.family}-")
    assert artefact.files[WEIGHTS].stat().st_size <= LARGEST
    assert {f"{g.name}.onnx" for g in kind.graphs(artefact.config)} <= set(artefact.files)
    assert artefact.training, "data, recipe, seed, steps and held-out figures"
    if kind.task is Task.GENERATION:
        assert artefact.config["num_layers"] >= 1, "for those who make chains"


@bundles
def test_a_bundled_model_says_in_both_runtimes_what_it_said_when_it_was_made(name):
    artefact = Artefact.read(bundled()[name])
    kind = family(artefact.family)
    onnx = OnnxRuntime().load(artefact, kind, 1)
    torch = TorchRuntime("cpu").load(artefact, kind, 1)
    for graph in kind.graphs(artefact.config):
        parity = artefact.export[graph.name]["parity"]
        assert min(parity["largest"], parity["relative"]) <= graph.tolerance
        for example in kind.examples(artefact.config, graph.name):
            wanted, made = torch.run(graph.name, example), onnx.run(graph.name, example)
            for tensor in wanted:
                bound = graph.tolerance * max(1.0, float(np.abs(wanted[tensor]).max()))
                np.testing.assert_allclose(made[tensor], wanted[tensor], rtol=0, atol=bound)
