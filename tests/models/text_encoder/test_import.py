"""Importing BERTs: small ones of each kind, the command, and refusals with a cure."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel, XLMRobertaConfig, XLMRobertaModel

from foretoken.errors import InvalidInput
from foretoken.models.layers.texts.tokens import FileTokens
from tests.models.text_encoder.conftest import VOCAB
from tests.models.text_encoder.running import imported

TEXTS = ["a", "a small text", "both ways " * 9, ""]
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 40,
}


@pytest.fixture
def specials(tokenizer_json, tmp_path):
    """The same tokenizer with a token in front and one behind, as BERT's and RoBERTa's have."""
    said = json.loads(tokenizer_json.read_text())
    token = {"id": "<|endoftext|>", "type_id": 0}
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": token},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": token},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            token["id"]: {"id": token["id"], "ids": [0], "tokens": [token["id"]]},
        },
    }
    path = tmp_path / "specials.json"
    path.write_text(json.dumps(said))
    return path


@pytest.fixture
def saved(tmp_path, specials):
    def saved(made):
        torch.manual_seed(0)
        for name, parameter in made.named_parameters():
            parameter.data.normal_(mean="LayerNorm.weight" in name, std=0.2)
        folder = tmp_path / "folder"
        made.eval().save_pretrained(folder)
        shutil.copy(specials, folder / "tokenizer.json")
        return folder

    return saved


def wanted(model, path, limit):
    """Means of what transformers makes of each text, [texts, width], of length 1."""
    ids = FileTokens(path.read_bytes(), limit, lowercase=False).encode(TEXTS).ids
    with torch.no_grad():
        rows = [model(torch.from_numpy(each)[None]).last_hidden_state[0].mean(0) for each in ids]
    return torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()


@pytest.mark.parametrize("kind", ["bare", "with a head", "roberta", "norms of 2018"])
def test_berts_of_each_kind(tmp_path, saved, specials, kind):
    if kind == "roberta":
        sizes = {**SIZES, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1}
        made = XLMRobertaModel(XLMRobertaConfig(**sizes))
    else:
        made = {"with a head": BertForMaskedLM}.get(kind, BertModel)(BertConfig(**SIZES))
    folder = saved(made)
    if kind == "norms of 2018":
        old = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for n, tensor in load_file(folder / "model.safetensors").items()
        }
        save_file(old, folder / "model.safetensors")
    running = imported(folder, tmp_path)
    assert running.artefact.config["max_tokens"] == 40
    bare = made.bert if kind == "with a head" else made
    np.testing.assert_allclose(running(*TEXTS).vectors, wanted(bare, specials, 40), atol=1e-5)


def test_robertas_padding_token_in_a_text_has_no_position(tmp_path, saved, specials):
    sizes = {**SIZES, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1}
    made = XLMRobertaModel(XLMRobertaConfig(**sizes))
    running = imported(saved(made), tmp_path)
    ids = np.array([[0, 9, 1, 8, 1, 1, 7, 0]])
    got = running.executable.run("forward", {"ids": ids, "length": np.array([8])})["embedding"]
    with torch.no_grad():
        h = made(torch.from_numpy(ids), attention_mask=torch.ones(1, 8)).last_hidden_state.mean(1)
    want = torch.nn.functional.normalize(h, dim=-1).numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_dimensions_come_from_the_folder_or_the_option(tmp_path, saved):
    folder = saved(BertModel(BertConfig(**SIZES, matryoshka_dimensions=[32, 16])))
    running = imported(folder, tmp_path / "one")
    assert running("a", dimensions=16).vectors.shape == (1, 16)
    with pytest.raises(InvalidInput, match="32, 16"):
        running("a", dimensions=8)
    running = imported(folder, tmp_path / "two", dimensions="8", max_tokens=5)
    assert running("a small text", dimensions=8).tokens.tolist() == [5]
    for wrong in ({"dimensions": "33"}, {"dimensions": "a"}, {"max_tokens": 41}):
        with pytest.raises(InvalidInput, match=r"dimensions|max_tokens"):
            imported(folder, tmp_path / "three", **wrong)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"attention": "causal"}, "decoders"), ({"pooling": "cls"}, "pooled by mean")],
)
def test_options_that_do_not_fit_the_folder(tmp_path, minilm_folder, options, named):
    with pytest.raises(InvalidInput, match=named):
        imported(minilm_folder, tmp_path, **options)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"is_decoder": True}, "decoder"),
        ({"hidden_size": 33}, "not a BERT"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps must be a positive number"),
        ({"vocab_size": 401}, r"words.*misshapen"),
    ],
)
def test_other_berts_are_refused_by_name(tmp_path, saved, change, named):
    folder = saved(BertModel(BertConfig(**SIZES)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InvalidInput, match=named):
        imported(folder, tmp_path)


def test_a_roberta_whose_padding_is_no_token_is_refused(tmp_path, saved):
    sizes = {**SIZES, "max_position_embeddings": 42, "type_vocab_size": 1, "pad_token_id": 1}
    folder = saved(XLMRobertaModel(XLMRobertaConfig(**sizes)))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": "1"}))
    with pytest.raises(InvalidInput, match="pad_token_id must be a non-negative integer"):
        imported(folder, tmp_path)


def test_a_folder_without_a_tokenizer_is_refused_with_a_cure(tmp_path, saved):
    folder = saved(BertModel(BertConfig(**SIZES)))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match="AutoTokenizer"):
        imported(folder, tmp_path)


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, saved):
    folder = saved(BertModel(BertConfig(**{**SIZES, "vocab_size": 200})))
    with pytest.raises(InvalidInput, match=r"tokens up to .* only 200"):
        imported(folder, tmp_path)


def test_cutting_at_the_beginning_is_refused(tmp_path, saved):
    folder = saved(BertModel(BertConfig(**SIZES)))
    (folder / "tokenizer_config.json").write_text('{"truncation_side": "left"}')
    with pytest.raises(InvalidInput, match="beginning"):
        imported(folder, tmp_path)


@pytest.fixture
def call(capsys):
    import typer

    from foretoken.cli import models, transfer
    from foretoken.cli.output import guarded

    app = typer.Typer(pretty_exceptions_enable=False)
    app.add_typer(models.app, name="models")
    models.app.command("import")(transfer.import_model)

    def call(*words):
        with pytest.raises(SystemExit) as ended, guarded():
            app([str(word) for word in words])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


def test_the_command_registers_a_version_that_answers(tmp_path, saved, call):
    from foretoken.models.tasks import TextRequest
    from foretoken.server.app import open_plane
    from foretoken.server.settings import Settings

    folder = saved(BertModel(BertConfig(**SIZES)))
    words = ("models", "import", "hf", folder, "--name", "tiny", "--data-dir", tmp_path / "data")
    status, out, err = call(*words, "--task", "embedding", "--json")
    assert status in (0, None), err
    record = json.loads(out)
    assert (record["family"], record["name"]) == ("text_encoder", "tiny")
    with open_plane(Settings(data_dir=tmp_path / "data")) as plane:
        (reply,) = plane.predict("tiny", [TextRequest((*TEXTS, "x" * 5000))])
    assert reply.vectors.shape == (5, 32)
    np.testing.assert_allclose(np.linalg.norm(reply.vectors, axis=1), 1, rtol=1e-5)
    assert reply.cut[-1] > 4000


def test_the_command_asks_for_a_task_that_there_is(tmp_path, saved, call):
    folder = saved(BertModel(BertConfig(**SIZES)))
    words = ("models", "import", "hf", folder, "--name", "tiny", "--data-dir", tmp_path / "data")
    status, _, err = call(*words, "--task", "painting")
    assert status == 2
    assert "embedding" in err
    status, _, err = call(*words, "--task", "curve")
    assert status == 2
    assert "text_encoder" in err
