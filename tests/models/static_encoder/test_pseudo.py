"""Texts of random tokens: what tokens are, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from foretoken.errors import InvalidInput
from foretoken.models.static_encoder.pseudo import LENGTHS, SHARES, Vocabulary, draw, vocabulary

PIECES = [
    "[PAD]",
    "[UNK]",
    "[unused0]",
    ".",
    "7",
    "a",
    "the",
    "river",
    "##s",
    "##bank",
    "bank",
    "?!",
]
SPECIAL = [0, 1]


@pytest.fixture(scope="module")
def tokenizer():
    """WordPiece, as BERT's vocabularies are."""
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(PIECES)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(["[PAD]", "[UNK]"])
    return made


def test_tokens_are_words_pieces_characters_or_signs_and_those_of_no_text_none(tokenizer):
    found = vocabulary(tokenizer, SPECIAL)
    names = {kind: [PIECES[i] for i in ids] for kind, ids in vars(found).items()}
    assert names == {
        "words": ["the", "river", "bank"],
        "pieces": ["##s", "##bank"],
        "characters": ["7", "a"],
        "signs": ["."],  # "?!" is always read as two
    }


def test_a_byte_level_vocabulary_has_words_too():
    words = ["<s>", "Ġriver", "river", "Ġ", "."]
    made = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    found = vocabulary(made, [0])
    assert [words[i] for i in found.words] == ["Ġriver", "river"]
    assert [words[i] for i in found.signs] == ["Ġ", "."]


def test_a_vocabulary_without_words_is_refused(tokenizer):
    with pytest.raises(InvalidInput, match="no token that is a word"):
        vocabulary(tokenizer, [*SPECIAL, 6, 7, 10])


@pytest.fixture(scope="module")
def large():
    """A vocabulary of 1,000 words in ten clusters, and vectors that tell them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((10, 16)) * 10
    vectors = centres[np.arange(1100) % 10] + rng.standard_normal((1100, 16))
    parts = np.split(np.arange(1100), [1000, 1050, 1080])
    return Vocabulary(*parts), torch.tensor(vectors, dtype=torch.float32)


def test_texts_have_the_lengths_and_shares_that_they_are_to_have(large):
    tokens, vectors = large
    drawn = draw(tokens, vectors, 5000, 1)
    assert len(drawn.lengths) == 5000
    assert drawn.lengths.sum() == len(drawn.ids)
    assert drawn.lengths.min() == LENGTHS[0]
    assert drawn.lengths.max() == LENGTHS[1]
    for kind in ("pieces", "characters", "signs"):
        share = np.isin(drawn.ids, getattr(tokens, kind)).mean()
        assert share == pytest.approx(SHARES[kind], abs=0.01)
    counts = np.bincount(drawn.ids, minlength=1100)[:1000]
    assert counts[:20].mean() > 3 * counts[500:].mean()  # frequent ones come first


def test_a_text_is_about_few_topics(large):
    tokens, vectors = large
    drawn = draw(tokens, vectors, 2000, 1)
    share = []
    for text in np.split(drawn.ids, np.cumsum(drawn.lengths)[:-1]):
        words = text[text < 1000]
        if len(words) >= 20:
            share.append(np.sort(np.bincount(words % 10, minlength=10))[-2:].sum() / len(words))
    assert np.mean(share) > 0.5  # at random the two most frequent of ten would have about 0.35


def test_equal_seeds_draw_equal_texts_and_others_others(large):
    tokens, vectors = large
    one, again, other = (draw(tokens, vectors, 50, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.ids, again.ids)
    assert not np.array_equal(one.lengths, other.lengths)
    assert len(draw(tokens, vectors, 0, 1).ids) == 0
