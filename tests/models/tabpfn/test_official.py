"""Importing the authors' checkpoint: the same answers, and refusals of everything else."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.artefact import Artefact
from foretoken.models.catalog import family
from foretoken.models.tabpfn.official import convert
from foretoken.server.registry.registry import Registry
from foretoken.server.runtimes import runtime

CONFIG = {  # of the shape, and with the kinds of values, of the release's
    "lr": 1e-4,
    "emsize": 64,
    "nhead": 4,
    "num_features": 100,
    "max_num_classes": 10,
    "prior_mlp_activations": {"choice_values": [torch.nn.Tanh, torch.nn.Identity, torch.nn.ReLU]},
    "differentiable": True,
    "seq_len_used": (1, 2),
    "name": None,
}


@pytest.fixture
def saved(tmp_path, checkpoint):
    """``saved(config)`` is a file in the release's format."""

    def saved(config, prefix="module.", legacy=False):
        state = {f"{prefix}{name}": tensor for name, tensor in checkpoint.items()}
        state["criterion.weight"] = torch.ones(10)
        path = tmp_path / "prior_diff_real_checkpoint_n_0_epoch_42.cpkt"
        torch.save((state, None, config), path, _use_new_zipfile_serialization=not legacy)
        return path

    return saved


def check(folder, v1):
    artefact = Artefact.read(folder)
    _check_answers(runtime("torch").load(artefact, family("tabpfn"), threads=1), v1)
    assert artefact.config["pipeline"] == "v1"
    assert artefact.config["features"] == 100


def _check_answers(executable, v1):
    x, y = v1["raw/x"].transpose(1, 0, 2), v1["raw/y"].T.astype(np.int64)
    n = np.full(3, 40)
    state = executable.run("encode_context", {"x": x[:, :40], "y": y, "n": n})
    logits = executable.run("query", {"x": x[:, 40:], "n": n, **state})["logits"]
    np.testing.assert_allclose(logits, v1["raw/out"].transpose(1, 0, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_is_imported(tmp_path, saved, v1, prefix, legacy):
    config = {"nhead": 4, "emsize": 64} if legacy else CONFIG  # that one has no room for classes
    convert(saved(config, prefix, legacy), tmp_path / "out", heads=0)
    check(tmp_path / "out", v1)


def test_heads_come_from_the_option_or_the_configuration(tmp_path, saved):
    for heads, config, wanted in ((0, {"nhead": 8}, 8), (2, {"nhead": 8}, 2), (0, {}, 4)):
        out = tmp_path / f"{heads}-{wanted}"
        convert(saved(config), out, heads=heads)
        assert Artefact.read(out).config["heads"] == wanted


@pytest.mark.parametrize("heads", [7, -1])
def test_impossible_heads_are_refused(tmp_path, saved, heads):
    with pytest.raises(InvalidInput, match="heads"):
        convert(saved(CONFIG), tmp_path / "out", heads=heads)
    with pytest.raises(InvalidInput, match="'many'"):
        convert(saved({"nhead": "many"}), tmp_path / "out", heads=0)


def test_code_beside_the_weights_is_refused_and_never_run(tmp_path, saved):
    config = {**CONFIG, "sampler": partial(pytest.fail, "a pickle was run")}
    with pytest.raises(InvalidInput, match=r"state_dict\(\)"):
        convert(saved(config), tmp_path / "out", heads=0)
    assert not (tmp_path / "out").exists()


def test_another_models_tensors_are_refused_by_name(tmp_path, checkpoint):
    for change, said in (
        ({"encoder.weight": None}, "embed_row"),
        ({"encoder.weight": torch.zeros(64)}, "embed_row.weight"),
        ({"decoder.2.bias": torch.zeros(3)}, "head_out.bias"),
        ({"decoder.9.bias": torch.zeros(3)}, "'decoder.9.bias' is not"),
    ):
        state = {n: t for n, t in {**checkpoint, **change}.items() if t is not None}
        torch.save((state, None, CONFIG), tmp_path / "model.cpkt")
        with pytest.raises(InvalidInput, match=said):
            convert(tmp_path / "model.cpkt", tmp_path / "out", heads=0)
        assert not (tmp_path / "out").exists()


def test_the_command_registers_a_version_that_answers(tmp_path, saved, capsys, v1):
    import typer

    from foretoken.cli import models, transfer

    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(models.app, name="models")
    models.app.command("import")(transfer.import_model)
    words = ["models", "import", "tabpfn-v1", str(saved(CONFIG)), "--name", "theirs", "--json"]
    with pytest.raises(SystemExit) as ended:
        app([*words, "--data-dir", str(tmp_path / "data")])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["family"] == "tabpfn"
    with Registry.open(tmp_path / "data") as registry:
        artefact = registry.artefact(registry.resolve("theirs"))
        executable = runtime("onnx").load(artefact, family("tabpfn"), threads=1)
        _check_answers(executable, v1)
