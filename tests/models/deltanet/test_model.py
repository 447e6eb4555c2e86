"""DeltaNet: constant state, gated or not, and graphs that export either way."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.deltanet import FAMILY, shapes
from foretoken.models.deltanet.model import DeltaNetConfig, DeltaNetModel, LanguageModel
from foretoken.models.layers.mixers.gru import GRU
from foretoken.server.publish import publish, quantised
from tests.published import randomised

GATED = {**FAMILY.small, "gated": True, "heads": 1}
both = pytest.mark.parametrize("config", [FAMILY.small, GATED], ids=["plain", "gated"])


def made(config):
    torch.manual_seed(0)
    return FAMILY.module(config).eval()


@both
@torch.no_grad()
def test_the_form_that_is_trained_is_a_scan_and_its_steps(config):
    model = made(config)
    tokens = torch.randint(config["vocab"], (2, 37))
    state = [torch.zeros(2, *shape) for shape in shapes(config).values()]
    wanted = model(tokens)
    logits, *after = model.scan(tokens[..., None], torch.tensor([37, 37]), *state)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-5)
    for t in range(37):
        logits, *state = model.step(tokens[:, t : t + 1], *state)
        torch.testing.assert_close(logits, wanted[:, t], rtol=1e-5, atol=1e-5)
    for step, scan in zip(state, after, strict=True):
        torch.testing.assert_close(step, scan, rtol=1e-5, atol=1e-5)


@both
@torch.no_grad()
def test_padding_leaves_the_state_alone(config):
    model, example = (
        made(config),
        next(e for e in FAMILY.examples(config, "scan") if len(e["x"]) == 5),
    )
    inputs = {name: torch.tensor(array) for name, array in example.items()}
    wanted = model.scan(**inputs)
    at = torch.arange(inputs["x"].shape[1])
    padding = at >= inputs["length"][:, None]
    assert padding.any()
    inputs["x"] = torch.where(padding[..., None], 0, inputs["x"])
    got = model.scan(**inputs)
    assert torch.equal(got[0][~padding], wanted[0][~padding])
    assert all(torch.equal(a, b) for a, b in zip(got[1:], wanted[1:], strict=True))


@torch.no_grad()
def test_answers_at_some_places_are_those_of_all():
    model = made(FAMILY.small)
    tokens, where = torch.randint(16, (3, 9)), torch.rand(3, 9) < 0.5
    torch.testing.assert_close(model(tokens, where), model(tokens)[where])


def test_a_language_model_takes_any_mixer():
    torch.manual_seed(0)
    model = LanguageModel(16, 8, 3, 32, lambda layer: GRU(8))
    tokens = torch.randint(16, (2, 5))
    later = tokens.clone()
    later[:, 3:] = 0
    with torch.no_grad():
        first, second = model(tokens), model(later)
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert first.shape == (2, 5, 16)
    assert not torch.allclose(first[:, 3:], second[:, 3:])


def test_gated_graphs_export_and_their_int8_child_says_its_loss(tmp_path):
    class Gated(type(FAMILY)):
        small = GATED

    family = Gated()
    artefact = publish(randomised(family, tmp_path), tmp_path / "out", family)
    child = quantised(artefact, tmp_path / "int8", family)
    for graph in family.graphs(GATED):
        parity, loss = artefact.export[graph.name]["parity"], child.export[graph.name]["loss"]
        assert min(parity["largest"], parity["relative"]) <= graph.tolerance
        assert len(parity["examples"]) >= 5
        assert 0 < loss["rms"] < 0.2
    sizes = [a.files[WEIGHTS].stat().st_size for a in (artefact, child)]
    assert sizes[1] < sizes[0]
    assert Artefact.read(tmp_path / "int8").precision == "int8"


@pytest.mark.parametrize("graph", ["step", "scan"])
@both
def test_examples_hold_equal_keys_empty_and_full_states_and_several_chunks(config, graph):
    examples = list(FAMILY.examples(config, graph))
    if graph == "scan":
        assert max(e["x"].shape[1] for e in examples) > 128
        assert any(e["x"].shape[1] > 100 and len(np.unique(e["x"])) == 1 for e in examples)
        assert any((e["length"] < e["x"].shape[1]).any() for e in examples)
    assert {bool(e["S"].any()) for e in examples} == {True, False}


@pytest.mark.parametrize("name", ["vocab", "width", "layers", "heads", "mlp"])
def test_sizes_must_be_positive(name):
    with pytest.raises(InvalidInput, match="not a model"):
        DeltaNetConfig(**{**asdict(DeltaNetConfig()), name: 0})


def test_a_state_is_as_large_as_it_says_whatever_was_read():
    config = DeltaNetConfig()
    wanted = shapes(asdict(config))
    state = DeltaNetModel(config).stack.start(1)
    assert {name: tuple(t.shape[1:]) for name, t in state.items()} == wanted
    assert sum(t.nbytes for t in state.values()) == 4 * (2 * 64 * 64 + 2 * 3 * 64 * 3)
