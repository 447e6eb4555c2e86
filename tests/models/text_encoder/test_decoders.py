"""Qwen2 and Llama read both ways, against transformers; random weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2ForCausalLM, Qwen2Model

from foretoken.errors import InvalidInput
from foretoken.models.layers.texts.tokens import FileTokens
from tests.models.text_encoder.conftest import VOCAB
from tests.models.text_encoder.running import imported, published

TEXTS = ["a", "a small text", "both ways " * 30, "größer, 更大, больше", "\n"]
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "attn_implementation": "eager",
    "tie_word_embeddings": True,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def saved(made, out, tokenizer_json, **options):
    """A model with weights that matter, saved with its tokenizer."""
    torch.manual_seed(0)
    for name, parameter in made.named_parameters():
        parameter.data.normal_(mean="norm" in name, std=0.2)
    made.eval().save_pretrained(out, **options)
    shutil.copy(tokenizer_json, out)
    return made


def wanted(model, tokenizer_json, *, pooling="mean", causal=False):
    """What transformers makes of each text alone, [texts, width], of length 1."""
    tokens = FileTokens(tokenizer_json.read_bytes(), 256, lowercase=False)
    rows = []
    for ids in tokens.encode(TEXTS).ids:
        T = len(ids)
        mask = torch.full((T, T), -1e9).triu(1) if causal else torch.zeros(T, T)
        with torch.no_grad():
            h = model(
                torch.from_numpy(ids)[None],
                attention_mask=mask[None, None],
                use_cache=False,
            ).last_hidden_state[0]
        rows.append({"mean": h.mean(0), "last": h[-1], "cls": h[0]}[pooling])
    return torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()


def test_qwen2_read_both_ways(tmp_path, tokenizer_json):
    folder = tmp_path / "folder"
    made = saved(Qwen2Model(Qwen2Config(**SIZES)), folder, tokenizer_json)
    running = published(imported(folder, tmp_path), tmp_path)
    reply, want = running(*TEXTS), wanted(made, tokenizer_json)
    np.testing.assert_allclose(reply.vectors, want, rtol=0, atol=1e-4)
    assert np.abs(reply.vectors - wanted(made, tokenizer_json, causal=True)).max() > 1e-2
    alone = np.concatenate([running(text).vectors for text in TEXTS])
    np.testing.assert_allclose(reply.vectors, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", [False, True], ids=["bare", "with a head"])
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "sharded"])
def test_every_form_of_a_folder_is_the_same_model(tmp_path, tokenizer_json, head, shards):
    made = (Qwen2ForCausalLM if head else Qwen2Model)(Qwen2Config(**SIZES))
    size = "40KB" if shards else "5GB"
    folder = tmp_path / "folder"
    saved(made, folder, tokenizer_json, max_shard_size=size)
    assert (folder / "model.safetensors.index.json").exists() == shards
    reply = imported(folder, tmp_path)(*TEXTS)
    bare = made.model if head else made
    np.testing.assert_allclose(reply.vectors, wanted(bare, tokenizer_json), rtol=0, atol=1e-4)


@pytest.mark.parametrize("pooling", ["last", "cls"])
def test_llama_with_scaled_positions_and_other_poolings(tmp_path, tokenizer_json, pooling):
    folder = tmp_path / "folder"
    config = LlamaConfig(**SIZES, rope_parameters=LLAMA3)
    made = saved(LlamaModel(config), folder, tokenizer_json)
    reply = imported(folder, tmp_path, pooling=pooling, attention="bidirectional")(*TEXTS)
    want = wanted(made, tokenizer_json, pooling=pooling)
    np.testing.assert_allclose(reply.vectors, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("said", ["folder", "option"])
def test_a_folder_that_is_causal_stays_so(tmp_path, tokenizer_json, said):
    folder = tmp_path / "folder"
    made = saved(Qwen2Model(Qwen2Config(**SIZES)), folder, tokenizer_json)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "is_causal": said == "folder"}))
    options = {"attention": "causal"} if said == "option" else {}
    reply = imported(folder, tmp_path, pooling="last", **options)(*TEXTS)
    want = wanted(made, tokenizer_json, pooling="last", causal=True)
    np.testing.assert_allclose(reply.vectors, want, rtol=0, atol=1e-4)


def test_a_decoder_that_pools_the_last_token_is_not_guessed_at(tmp_path, tokenizer_json):
    folder = tmp_path / "folder"
    saved(Qwen2Model(Qwen2Config(**SIZES)), folder, tokenizer_json)
    with pytest.raises(InvalidInput, match=r"attention=causal or attention=bidirectional"):
        imported(folder, tmp_path, pooling="last")


def test_weights_in_16_bits_stay_so_on_the_disk(tmp_path, tokenizer_json):
    folder = tmp_path / "folder"
    made = saved(Qwen2Model(Qwen2Config(**SIZES)).to(torch.bfloat16), folder, tokenizer_json)
    running = published(imported(folder, tmp_path), tmp_path)
    want = wanted(Qwen2Model.from_pretrained(folder, dtype=torch.float32), tokenizer_json)
    np.testing.assert_allclose(running(*TEXTS).vectors, want, rtol=0, atol=1e-4)
    numbers = sum(parameter.numel() for parameter in made.parameters())
    assert running.artefact.files["model.safetensors"].stat().st_size < 2.5 * numbers + 50_000


def test_a_text_without_tokens_has_no_direction(tmp_path, tokenizer_json):
    folder = tmp_path / "folder"
    saved(Qwen2Model(Qwen2Config(**SIZES)), folder, tokenizer_json)
    reply = imported(folder, tmp_path)("", "a")
    np.testing.assert_array_equal(reply.tokens, [0, 1])
    assert not reply.vectors[0].any()
    assert np.linalg.norm(reply.vectors[1]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "gpt2"}, "gpt2.*accepted are bert.*qwen2"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"use_sliding_window": True}, "sliding window"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_hidden_layers": 4}, r"lacks.*layers\.3"),
        ({"intermediate_size": 81}, "misshapen"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "part of each head"),
    ],
)
def test_other_decoders_are_refused_by_name(tmp_path, tokenizer_json, change, named):
    folder = tmp_path / "folder"
    saved(Qwen2Model(Qwen2Config(**SIZES)), folder, tokenizer_json)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(InvalidInput, match=named):
        imported(folder, tmp_path)
    assert not (tmp_path / "imported").exists()
