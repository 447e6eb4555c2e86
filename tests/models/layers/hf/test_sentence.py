"""What sentence-transformers' files say, in their forms of then and now."""

from __future__ import annotations

import json

import pytest

from foretoken.errors import InvalidInput
from foretoken.models.layers.hf.sentence import Sentence

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.base.modules.transformer.Transformer"


@pytest.fixture
def write(tmp_path):
    def write(name, said):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))

    return write


@pytest.fixture
def modules(write):
    def modules(*steps):
        write("modules.json", [{"idx": i, "type": t, "path": p} for i, (t, p) in enumerate(steps)])

    modules((f"{OLD}Transformer", ""), (f"{OLD}Pooling", "1_Pooling"), (f"{OLD}Normalize", "2"))
    write("1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
    return modules


def test_a_bare_transformer_says_little(tmp_path, write):
    assert Sentence.read(tmp_path) == Sentence(tmp_path)
    write("tokenizer_config.json", {"model_max_length": 512})
    assert Sentence.read(tmp_path).max_tokens == 512
    write("tokenizer_config.json", {"model_max_length": 1e30})  # stands for none
    assert Sentence.read(tmp_path).max_tokens is None


def test_sentence_bert_config_wins_over_the_tokenizers_files(tmp_path, write, modules):
    write("tokenizer_config.json", {"model_max_length": 512})
    write("sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": True})
    said = Sentence.read(tmp_path)
    assert (said.max_tokens, said.lowercase, said.pooling) == (256, True, "mean")
    write("sentence_bert_config.json", {"max_seq_length": None})
    assert Sentence.read(tmp_path).max_tokens == 512
    write("sentence_bert_config.json", {"max_seq_length": "many"})
    with pytest.raises(InvalidInput, match="many"):
        Sentence.read(tmp_path)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"word_embedding_dimension": 8}, "mean"),
    ],
)
def test_poolings_of_then_and_now(tmp_path, write, modules, said, wanted):
    write("1_Pooling/config.json", said)
    assert Sentence.read(tmp_path).pooling == wanted


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean, cls"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, "prompts"),
    ],
)
def test_other_poolings_are_refused_by_name(tmp_path, write, modules, said, named):
    write("1_Pooling/config.json", said)
    with pytest.raises(InvalidInput, match=named):
        Sentence.read(tmp_path)


def test_the_transformer_may_lie_in_a_folder_of_its_own(tmp_path, write, modules):
    modules((NEW, "0_Transformer"), (f"{OLD}Pooling", "1_Pooling"))
    write("0_Transformer/sentence_bert_config.json", {"max_seq_length": 64})
    said = Sentence.read(tmp_path)
    assert (said.transformer, said.max_tokens) == (tmp_path / "0_Transformer", 64)


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        (((f"{OLD}Transformer", ""), (f"{OLD}Pooling", "1"), (f"{OLD}Dense", "2")), "Dense"),
        (((f"{OLD}StaticEmbedding", ""),), "StaticEmbedding"),
        (((f"{OLD}Transformer", "../x"), (f"{OLD}Pooling", "1_Pooling")), "outside"),
    ],
)
def test_other_modules_are_refused_by_name(tmp_path, modules, steps, named):
    modules(*steps)
    with pytest.raises(InvalidInput, match=named):
        Sentence.read(tmp_path)


def test_modules_that_are_no_list_and_pooling_that_is_not_there(tmp_path, write, modules):
    (tmp_path / "1_Pooling/config.json").unlink()
    with pytest.raises(InvalidInput, match="1_Pooling"):
        Sentence.read(tmp_path)
    write("modules.json", {"idx": 0})
    with pytest.raises(InvalidInput, match="must list"):
        Sentence.read(tmp_path)


def test_prompts_by_name(tmp_path, write, modules):
    prompts = {"query": "Instruct: find \n Query: ", "document": "", "other": None}
    write(
        "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": "document"}
    )
    said = Sentence.read(tmp_path)
    assert said.prompts == {"query": prompts["query"], "document": ""}
    assert said.default_prompt == "document"
    write("config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": "query"})
    with pytest.raises(InvalidInput, match="default_prompt_name"):
        Sentence.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sentence_bert_config.json", [1]),
        ("tokenizer_config.json", "x"),
        ("config_sentence_transformers.json", 3),
        ("config_sentence_transformers.json", {"prompts": ["query: "]}),
    ],
)
def test_files_that_say_something_else_are_named(tmp_path, write, modules, name, said):
    write(name, said)
    with pytest.raises(InvalidInput, match=name):
        Sentence.read(tmp_path)


def test_json_that_is_too_deep_is_named(tmp_path, modules):
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    with pytest.raises(InvalidInput, match="tokenizer_config"):
        Sentence.read(tmp_path)
