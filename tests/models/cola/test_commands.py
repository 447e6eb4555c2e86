"""From the command line to answers: a folder that is imported, a model that is trained."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from foretoken.cli.app import app
from foretoken.cli.output import guarded
from foretoken.models.cola import train
from foretoken.models.cola.vocabulary import VOCABULARY
from foretoken.models.tasks import GenerationRequest
from foretoken.server.app import open_plane
from foretoken.server.settings import load_settings

SIZES = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 96,
}


@pytest.fixture
def call(capsys):
    """Run the command line; what it prints."""

    def run(*words) -> str:
        with pytest.raises(SystemExit) as ended, guarded():
            app([str(word) for word in words])
        said = capsys.readouterr()
        assert ended.value.code in (0, None), said.err
        return said.out

    return run


@torch.no_grad()
def test_an_imported_folder_generates_what_transformers_does(tmp_path, call):
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(LlamaConfig(**SIZES)).eval()
    for weights in theirs.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    theirs.generation_config.eos_token_id = None
    theirs.config.eos_token_id = None
    theirs.save_pretrained(tmp_path / "hf")
    made = Tokenizer(models.WordLevel({f"w{i}": i for i in range(40)}, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "hf" / "tokenizer.json"))
    words = ("--name", "tiny", "--task", "generation", "--data-dir", tmp_path / "data", "--json")
    record = json.loads(call("models", "import", "hf", tmp_path / "hf", *words))
    assert (record["family"], record["name"]) == ("cola", "tiny")
    prompts = ["w3 w4 w5", "w9", "w7 w7 w7 w7 w2"]
    with open_plane(load_settings(data_dir=tmp_path / "data")) as plane:
        replies = plane.predict("tiny", [GenerationRequest(p, 12) for p in prompts])
    for prompt, reply in zip(prompts, replies, strict=True):
        ids = torch.tensor([made.encode(prompt).ids])
        wanted = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        assert [token.id for token in reply.tokens] == wanted[0, ids.shape[1] :].tolist()
        assert made.encode(reply.text).ids == [token.id for token in reply.tokens]


def test_a_trained_model_is_registered_and_answers(tmp_path, call, monkeypatch):
    monkeypatch.setattr(train, "MEASURED", 4)
    run, data = tmp_path / "run", ("--data-dir", tmp_path / "data")
    call("train", "cola", "--preset", "tiny", "-o", "minutes=0.02", "--out", run)
    call("models", "register", "sums", run / "artefact", *data)
    with open_plane(load_settings(data_dir=tmp_path / "data")) as plane:
        (reply,) = plane.predict("sums", [GenerationRequest("12+7=", 6, chain=(0, 0, 1))])
    assert reply.prompt == 6
    assert reply.chain == (0, 0, 1)
    assert reply.text == VOCABULARY.decode(token.id for token in reply.tokens)
