"""Folders that transformers saved: the same logits and tokens, and refusals by name."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from foretoken.errors import InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.cola.huggingface import convert
from foretoken.models.cola.model import ColaConfig, ColaModel
from foretoken.server.publish import halved

VOCAB = 61
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 96,
    "attn_implementation": "eager",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
KINDS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=4)),
    "llama-tied": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, tie_word_embeddings=True, rms_norm_eps=1e-5)
    ),
    "llama3": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, head_dim=8, rope_parameters=LLAMA3)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen2-tied": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=True)),
}


@pytest.fixture(scope="module", params=KINDS)
def theirs(request):
    torch.manual_seed(0)
    made = KINDS[request.param]().eval()
    for weights in made.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    made.tie_weights()
    return made


def saved(model, folder, **options):
    model.save_pretrained(folder, **options)
    words = {f"w{i}": i for i in range(VOCAB)}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(folder / "tokenizer.json"))
    return folder


def loaded(folder):
    artefact = Artefact.read(folder)
    made = ColaModel(ColaConfig.of(artefact.config))
    made.load_state_dict(load_file(folder / WEIGHTS))
    return made.eval(), artefact.config


@torch.no_grad()
def test_logits_and_greedy_tokens_are_those_of_transformers(theirs, tmp_path):
    convert(saved(theirs, tmp_path / "hf", max_shard_size="12KB"), tmp_path / "out")
    assert len(list((tmp_path / "hf").glob("model-*.safetensors"))) > 1
    ours, _ = loaded(tmp_path / "out")
    ids = torch.randint(0, VOCAB, (2, 40), generator=torch.Generator().manual_seed(0))
    wanted = theirs(ids).logits
    assert wanted.std() > 0.1
    torch.testing.assert_close(ours(ids), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.cached(ids)[0], wanted, rtol=1e-4, atol=1e-4)
    prompt = ids[:, :9]
    length = {"max_new_tokens": 30, "min_new_tokens": 30}
    seen = torch.ones_like(prompt)  # or it takes tokens 0 for padding
    said = theirs.generate(prompt, attention_mask=seen, do_sample=False, pad_token_id=0, **length)
    assert greedy(ours, prompt, 30).tolist() == said.tolist()
    assert greedy_cached(ours, prompt, 30).tolist() == said.tolist()


def next_of(logits):
    """The likeliest token that does not end the answer, as with min_new_tokens."""
    logits = logits[:, -1].clone()
    logits[:, SIZES["eos_token_id"]] = -torch.inf
    return logits.argmax(-1, keepdim=True)


def greedy(model, ids, n):
    for _ in range(n):
        ids = torch.cat([ids, next_of(model(ids))], dim=1)
    return ids


def greedy_cached(model, ids, n):
    logits, past = model.cached(ids)
    for _ in range(n):
        ids = torch.cat([ids, next_of(logits)], dim=1)
        logits, past = model.cached(ids[:, -1:], None, past)
    return ids


def changed(folder, name="config.json", **entries):
    path = folder / name
    said = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(said | entries))
    return folder


@pytest.fixture
def llama(tmp_path):
    return saved(KINDS["llama"](), tmp_path / "hf")


def test_generation_and_chat_are_kept(llama, tmp_path):
    changed(llama, "generation_config.json", eos_token_id=[2, 5], temperature=0.7, top_k=20)
    changed(
        llama,
        "tokenizer_config.json",
        chat_template="{{ messages }}",
        bos_token={"content": "<s>"},
        eos_token="</s>",
    )
    convert(llama, tmp_path / "out", max_tokens=50)
    config = Artefact.read(tmp_path / "out").config
    assert config["generation"] == {
        "ends": [2, 5],
        "sample": False,
        "temperature": 0.7,
        "top_k": 20,
    }
    assert config["chat"] == {
        "template": "{{ messages }}",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    assert config["positions"] == 50
    assert config["num_layers"] == config["shape"]["layers"]
    assert {f.name for f in fields(ColaConfig)} <= set(config)
    kept = load_file(tmp_path / "out" / WEIGHTS)["tokenizer.json"]
    assert bytes(kept.tolist()) == (llama / "tokenizer.json").read_bytes()
    (llama / "chat_template.jinja").write_text("{{ other }}")
    convert(llama, tmp_path / "second")
    assert Artefact.read(tmp_path / "second").config["chat"]["template"] == "{{ other }}"


def test_a_folder_without_a_template_has_no_chat(llama, tmp_path):
    convert(llama, tmp_path / "out")
    config = Artefact.read(tmp_path / "out").config
    assert config["chat"] is None
    assert config["generation"]["ends"] == [2]
    assert config["positions"] == 96


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_stay_halves(tmp_path, dtype):
    torch.manual_seed(0)
    theirs = KINDS["qwen2"]().to(dtype)
    convert(saved(theirs, tmp_path / "hf"), tmp_path / "out")
    kept = load_file(tmp_path / "out" / WEIGHTS)
    assert kept["blocks.0.mlp.up.weight"].dtype == dtype
    assert torch.equal(kept["words.weight"], theirs.model.embed_tokens.weight)
    precision = str(dtype).removeprefix("torch.")
    child = halved(Artefact.read(tmp_path / "out"), tmp_path / "child", precision=precision)
    after = load_file(child.files[WEIGHTS])
    assert kept.keys() == after.keys()
    for name, tensor in kept.items():  # served in the precision of the folder, nothing is lost
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_type": "gemma"}, "gemma"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "linear"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"num_hidden_layers": 4}, "lacks tensors"),
        ({"num_hidden_layers": 2}, "has not"),
        ({"vocab_size": 60}, "tokens up to 60"),
    ],
)
def test_models_that_cannot_be_run_are_refused_by_name(llama, tmp_path, entries, said):
    with pytest.raises(InvalidInput, match=said):
        convert(changed(llama, **entries), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"eos_token_id": [61]}, "eos_token_id"),
        ({"temperature": "hot"}, "generation_config.json: temperature"),
        ({"top_p": 2}, "generation_config.json: top_p"),
        ({"top_k": 0.5}, "generation_config.json: top_k"),
        ({"repetition_penalty": 0}, "generation_config.json: repetition_penalty"),
    ],
)
def test_wrong_defaults_of_generation_are_refused(llama, tmp_path, entries, said):
    with pytest.raises(InvalidInput, match=said):
        convert(changed(llama, "generation_config.json", **entries), tmp_path / "out")


def test_what_is_no_template_is_refused(llama, tmp_path):
    (llama / "chat_template.jinja").write_text("{% if messages %}")
    with pytest.raises(InvalidInput, match="the chat template cannot be read"):
        convert(llama, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_without_a_tokenizer_and_too_many_tokens_are_refused(llama, tmp_path):
    with pytest.raises(InvalidInput, match="1 to 96"):
        convert(llama, tmp_path / "out", max_tokens=97)
    (llama / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match=r"no tokenizer\.json"):
        convert(llama, tmp_path / "out")
