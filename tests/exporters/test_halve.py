"""bfloat16 children: half the bytes of matrices, served by torch, with their loss measured."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from foretoken.errors import Unsupported
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.server.publish import check, halved, quantised
from foretoken.server.runtimes.torch import TorchRuntime
from tests.published import SUBJECTS

NAMES = ["in_context", "stateless", "text_encoder"]


@pytest.fixture(scope="module")
def child(tmp_path_factory, published):
    """``child(name)`` is the bfloat16 child of a published family."""
    made: dict[str, Artefact] = {}

    def child(name: str) -> Artefact:
        if name not in made:
            out = tmp_path_factory.mktemp(name) / "half"
            made[name] = halved(published(name), out, SUBJECTS[name])
        return made[name]

    return child


@pytest.mark.parametrize("name", NAMES)
def test_matrices_and_tables_are_stored_in_16_bits(child, published, name):
    before, after = (load_file(a.files[WEIGHTS]) for a in (published(name), child(name)))
    assert before.keys() == after.keys()
    narrow = {n for n, tensor in after.items() if tensor.dtype == torch.bfloat16}
    assert narrow
    assert all(after[n].dtype == before[n].dtype for n in after.keys() - narrow)
    for n in narrow:
        assert torch.equal(after[n], before[n].to(torch.bfloat16))


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_small_and_stored(child, name):
    artefact = child(name)
    assert (artefact.precision, artefact.serving["runtime"]) == ("bfloat16", "torch")
    assert json.loads(json.dumps(artefact.description(), allow_nan=False))
    assert not any(file.endswith(".onnx") for file in artefact.files)
    said = artefact.training["bfloat16"]
    assert said.keys() == {g.name for g in SUBJECTS[name].graphs(artefact.config)}
    for figures in said.values():
        assert 0 < figures["rms"] < 0.1
        assert 0.9 < figures["cosine"] < 1


def test_it_runs_as_it_will_be_served(child):
    check(child("text_encoder"))
    artefact, family = child("text_encoder"), SUBJECTS["text_encoder"]
    executable = TorchRuntime("cpu").load(artefact, family, 1)
    example = next(iter(family.examples(artefact.config, "forward")))
    assert executable.run("forward", example)["embedding"].dtype == "float32"


def test_other_precisions_are_refused(tmp_path, child, published):
    with pytest.raises(Unsupported, match="bfloat16"):
        halved(child("text_encoder"), tmp_path / "out")
    int8 = quantised(published("stateless"), tmp_path / "int8", SUBJECTS["stateless"])
    with pytest.raises(Unsupported, match="int8"):
        halved(int8, tmp_path / "out", SUBJECTS["stateless"])
    assert not (tmp_path / "out").exists()
