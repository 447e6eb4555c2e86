"""The model in the box recalls: in ONNX Runtime, at once, in parts and token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.models.deltanet import FAMILY
from foretoken.models.deltanet.recall import NONE, recall
from foretoken.models.tasks import SequenceRequest
from foretoken.server.engine.drive import alone
from foretoken.server.registry.bundled import bundled_name
from foretoken.server.runtimes.onnx import OnnxRuntime


@pytest.fixture(scope="module")
def artefact():
    return Artefact.read(bundled()["deltanet"])


@pytest.fixture(scope="module")
def answered(artefact):
    """``answered(values, state)``: what is said after each of values [T, 1]."""
    executable = OnnxRuntime().load(artefact, FAMILY, 1)
    model = FAMILY.predictor(artefact.config, {})
    graphs = {g.name: g for g in FAMILY.graphs(artefact.config)}

    def answered(values, state=None):
        kept = {n: a.copy() for n, a in model.start().items()} if state is None else state
        (reply,) = alone([model.predict(SequenceRequest(values), kept)], graphs, executable.run, 1)
        return reply.outputs

    answered.start = model.start
    yield answered
    executable.close()


def sequences(B, T, pairs):
    tokens, answers = recall(B, T, pairs, 256, torch.Generator().manual_seed(11))
    return tokens.numpy(), answers.numpy()


@pytest.mark.parametrize(("T", "pairs"), [(64, 4), (128, 16), (256, 64)])
def test_it_recalls_99_of_100_values(answered, T, pairs):
    tokens, answers = sequences(8, T, pairs)
    said = np.stack([answered(row[:, None].astype(float))["likeliest"] for row in tokens])
    asked = answers != NONE
    assert (said[asked] == answers[asked]).mean() >= 0.99


def test_it_says_the_same_token_by_token_and_in_parts(answered):
    (row,), (answers,) = sequences(1, 128, 16)
    values = row[:, None].astype(float)
    whole = answered(values)
    stepped = {name: array.copy() for name, array in answered.start().items()}
    steps = [answered(value[None], stepped) for value in values]
    parted = {name: array.copy() for name, array in answered.start().items()}
    parts = [answered(part, parted) for part in np.split(values, [1, 40, 73])]
    for made in (steps, parts):
        logits = np.concatenate([m["logits"] for m in made])
        np.testing.assert_allclose(logits, whole["logits"], rtol=1e-4, atol=1e-4)
        said = np.concatenate([m["likeliest"] for m in made])
        asked = answers != NONE
        np.testing.assert_array_equal(said[asked], whole["likeliest"][asked])
    for name, array in stepped.items():
        np.testing.assert_allclose(parted[name], array, rtol=1e-4, atol=1e-4)


def test_a_value_said_anew_replaces_the_old_one(answered):
    """What the delta rule is for; no training sequence has a key with two values."""
    rng = np.random.default_rng(0)
    keys, values = rng.permutation(np.arange(1, 128))[:6], rng.permutation(np.arange(128, 256))[:12]
    first, second = values[:6], values[6:]
    said = [np.column_stack([keys, v]).ravel() for v in (first, second)]
    reply = answered(np.concatenate([*said, keys])[:, None].astype(float))
    assert (reply["likeliest"][-6:] == second).mean() >= 0.5


def test_it_is_small_enough_for_the_box_and_says_how_it_was_trained(artefact):
    assert sum(path.stat().st_size for path in artefact.files.values()) <= 1.5 * 2**20
    assert bundled_name(artefact) == "deltanet-recall"
    assert artefact.training["held_out"]["accuracy_64"] >= 0.99
    assert artefact.training["lessons"]["vocab"] == artefact.config["vocab"] == 256
