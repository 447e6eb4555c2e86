"""all-MiniLM-L6-v2 says what sentence-transformers says of the same folder."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
LONG = " ".join(f"word{i % 97}" for i in range(10_000))
SCRIPTS = {  # first and last letter
    "latin": (0x61, 0x7A),
    "accents": (0xE0, 0xFF),
    "greek": (0x3B1, 0x3C9),
    "cyrillic": (0x430, 0x44F),
    "hebrew": (0x5D0, 0x5EA),
    "arabic": (0x628, 0x64A),
    "devanagari": (0x915, 0x939),
    "hangul": (0xAC00, 0xD7A3),
    "kana": (0x3041, 0x3093),
    "han": (0x4E00, 0x9FA5),
    "emoji": (0x1F600, 0x1F64F),
    "signs": (0x21, 0x40),
}
ODD = [
    "",
    " \t\n",
    "\u200b\ufeff",
    "a\x00b",
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "x" * 150,  # longer than the longest word that its tokenizer takes apart
    "é" * 2 + " e\u0301" * 2,
    "\ufb01ne \uff26\uff35\uff2c\uff2c \u00bd \u0130stanbul \u01c5",
    LONG,
]


def texts(count: int) -> list[str]:
    """Lines of the documentation, and words of any script, of 1 to 200 words."""
    rng = random.Random(0)
    lines = [
        line
        for path in sorted((ROOT / "docs").rglob("*.md"))
        for line in path.read_text().split("\n")
    ]
    made = list(ODD)
    while len(made) < count:
        if rng.random() < 0.5:
            made.append(rng.choice(lines))
            continue
        first, last = rng.choice(list(SCRIPTS.values()))
        words = int(rng.lognormvariate(1.7, 1)) % 200 + 1
        made.append(
            " ".join(
                "".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 9)))
                for _ in range(words)
            )
        )
    return made


@pytest.fixture(scope="module")
def reference(minilm_folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm_folder), device="cpu")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_a_thousand_texts_of_any_length_and_script(minilm, reference):
    given = texts(1000)
    wanted = reference.encode(given, batch_size=16, show_progress_bar=False)
    reply = minilm(*given)
    assert cosines(wanted, reply.vectors).min() >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(reply.vectors, axis=1), 1, rtol=1e-5)


def test_tokens_are_counted_as_they_are_read(minilm, reference):
    given = ["", "one two", LONG]
    reply = minilm(*given)
    whole = [len(reference.tokenizer(text)["input_ids"]) for text in given]
    np.testing.assert_array_equal(reply.tokens, [2, 4, 256])
    np.testing.assert_array_equal(reply.tokens + reply.cut, whole)


def test_alone_and_in_company_a_text_has_one_vector(minilm):
    given = [text for text in texts(60) if text != LONG]
    together = minilm(*given).vectors
    alone = np.concatenate([minilm(text).vectors for text in given])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_a_prompt_is_put_in_front(minilm, reference):
    given = ["what is said", "and what is meant"]
    wanted = reference.encode(given, prompt="query: ", show_progress_bar=False)
    reply = minilm(*given, prompt="query: ")
    assert cosines(wanted, reply.vectors).min() >= 0.99999
    assert cosines(minilm(*given).vectors, reply.vectors).max() < 0.999


def test_the_vectors_of_this_model_are_not_cut(minilm):
    from foretoken.errors import InvalidInput

    assert minilm("a", dimensions=384).vectors.shape == (1, 384)
    for wrong in (383, 128, 1000):
        with pytest.raises(InvalidInput, match="384"):
            minilm("a", dimensions=wrong)


def test_a_version_says_how_it_was_made(minilm):
    config = minilm.artefact.config
    assert (config["kind"], config["pooling"], config["max_tokens"]) == ("bert", "mean", 256)
    assert minilm.artefact.export["forward"]["parity"]["largest"] < 1e-5
