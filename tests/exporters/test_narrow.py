"""Children of fewer bits, served by torch, with their loss measured."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from foretoken.errors import InvalidInput, Unsupported
from foretoken.exporters.likelihoods import loss
from foretoken.exporters.modules import load_module
from foretoken.exporters.narrow import narrow
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola import FAMILY as COLA
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


@pytest.fixture(scope="module")
def layered(tmp_path_factory):
    """A float32 CoLa of 96 tokens and width 64, whose narrow matrices are of 64 x 32 weights."""
    folder = tmp_path_factory.mktemp("layered")
    shape = {**COLA.small["shape"], "vocab": 96, "width": 64, "head_width": 16, "mlp": 80}
    config = {**COLA.small, "shape": {**shape, "qkv_bias": True}}
    torch.manual_seed(2)
    module = COLA.module(config)
    for weights in module.parameters():
        torch.nn.init.normal_(weights, std=0.1)
    save_file(module.state_dict(), folder / WEIGHTS)
    return Artefact("cola", config, {WEIGHTS: folder / WEIGHTS})


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8"])
def test_layers_become_narrower_and_say_what_is_lost(layered, tmp_path, precision):
    if precision == "int8":
        made = quantised(layered, tmp_path / "out")
    else:
        made = halved(layered, tmp_path / "out", precision=precision)
    check(made)
    assert (made.precision, made.serving["runtime"]) == (precision, "torch")
    served = TorchRuntime("cpu").load(made, COLA, 1).dtype
    said = made.training[precision]
    assert (said["tokens"], said["computed"]) == (256, str(served).removeprefix("torch."))
    assert 0 < said["divergence"] < 0.01
    assert 0 < said["logprob"] < 0.3
    assert 0.8 < said["likeliest"] <= 1
    size = made.files[WEIGHTS].stat().st_size / layered.files[WEIGHTS].stat().st_size
    assert size < (0.4 if precision == "int8" else 0.52)


def test_int8_has_a_scale_for_each_row_of_matrices_that_are_large_enough(layered, tmp_path):
    before = load_file(layered.files[WEIGHTS])
    child = narrow(layered, COLA, tmp_path, "int8")
    after = load_file(child.files[WEIGHTS])
    large = {n for n, w in before.items() if w.ndim == 2 and min(w.shape) >= 64}
    assert {n for n, w in after.items() if w.dtype == torch.int8} == large
    assert {"words.weight", "head.weight", "blocks.0.mlp.up.weight"} <= large
    assert "blocks.0.attention.k.weight" not in large
    assert after.keys() - before.keys() == {f"{name}.scale" for name in large}
    widened = load_module(child, COLA).state_dict()
    for name, wanted in before.items():
        if name not in large:
            assert torch.equal(after[name], wanted)
            assert torch.equal(widened[name], wanted)
            continue
        step = wanted.abs().amax(1) / 127
        assert torch.equal(after[f"{name}.scale"], step)
        assert after[name].abs().amax(1).eq(127).all()
        # Half a step, and what float32 rounds of a quotient of up to 127.
        assert ((widened[name] - wanted).abs() <= 0.5001 * step[:, None]).all()


def test_rows_of_zeros_stay_so(layered, tmp_path):
    tensors = load_file(layered.files[WEIGHTS])
    tensors["head.weight"][3] = 0.0
    save_file(tensors, tmp_path / WEIGHTS)
    (tmp_path / "out").mkdir()
    child = narrow(
        replace(layered, files={WEIGHTS: tmp_path / WEIGHTS}), COLA, tmp_path / "out", "int8"
    )
    assert not load_module(child, COLA).head.weight[3].any()


@pytest.mark.parametrize("scale", [None, torch.ones(3), torch.ones(96, dtype=torch.float64)])
def test_int8_without_its_scales_is_refused(layered, tmp_path, scale):
    child = narrow(layered, COLA, tmp_path, "int8")
    tensors = load_file(child.files[WEIGHTS])
    del tensors["head.weight.scale"]
    if scale is not None:
        tensors["head.weight.scale"] = scale
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(InvalidInput, match="one float32 for each of its rows"):
        load_module(child, COLA)


def test_what_a_precision_cannot_hold_is_refused(layered, tmp_path):
    for name, value, said in (
        ("head.weight", 7e4, "beyond 65504, the most in float16"),
        ("blocks.1.norm_mlp.weight", 1e7, "not finite"),
    ):
        tensors = load_file(layered.files[WEIGHTS])
        tensors[name][0] = value
        save_file(tensors, tmp_path / WEIGHTS)
        large = replace(layered, files={WEIGHTS: tmp_path / WEIGHTS})
        with pytest.raises(Unsupported, match=said):
            halved(large, tmp_path / "out", precision="float16")
        assert not (tmp_path / "out").exists()
        assert halved(large, tmp_path / name).precision == "bfloat16"


def test_families_say_which_precisions_they_take(layered, published, tmp_path):
    with pytest.raises(Unsupported, match="stateless become bfloat16 or int8, not float16"):
        halved(published("stateless"), tmp_path / "out", SUBJECTS["stateless"], "float16")
    with pytest.raises(Unsupported, match="bfloat16, float16 or int8, not int4"):
        halved(layered, tmp_path / "out", precision="int4")
    with pytest.raises(Unsupported, match="runs layer by layer"):
        quantised(layered, tmp_path / "out", metric=lambda run: {})
    small = Artefact("cola", COLA.small, {WEIGHTS: tmp_path / "small.safetensors"})
    save_file(COLA.module(COLA.small).state_dict(), small.files[WEIGHTS])
    with pytest.raises(Unsupported, match="64 x 64"):
        quantised(small, tmp_path / "out")


def test_losses_are_those_of_their_definitions():
    wanted = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.2, 0.2]]).log()
    got = torch.tensor([[0.25, 0.5, 0.25], [0.6, 0.2, 0.2]]).log() + 3.0
    said = loss(wanted, got)
    assert said["logprob"] == pytest.approx(np.log(2), rel=1e-5)
    assert said["divergence"] == pytest.approx((0.5 - 0.25) * np.log(2) / 2, rel=1e-5)
    assert (said["tokens"], said["likeliest"]) == (2, 0.5)
    assert loss(wanted, wanted)["divergence"] == 0.0
