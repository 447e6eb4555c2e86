"""Tokenizers: their own truncation and padding are off, and cutting keeps special tokens."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from foretoken.errors import DataLoss, InvalidInput
from foretoken.models.layers.texts.tokens import ByteTokens, FileTokens, tokens_of
from foretoken.models.text_encoder import FAMILY


@pytest.fixture(scope="module")
def data(minilm_folder):
    return (minilm_folder / "tokenizer.json").read_bytes()


def test_what_tokenizer_json_says_of_truncation_and_padding_is_not_done(data):
    said = json.loads(data)
    assert said["truncation"]["max_length"] == 128
    assert said["padding"]
    tokens = FileTokens(data, 256, lowercase=False)
    ids = tokens.encode(["a", "a " * 200]).ids
    assert [len(each) for each in ids] == [3, 202]


@pytest.mark.parametrize("words", [0, 1, 5, 6, 7, 500])
def test_cutting_is_what_the_package_does(data, words):
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_buffer(data)
    theirs.no_padding()
    theirs.enable_truncation(8)
    text = " ".join(["many"] * words)
    encoded = FileTokens(data, 8, lowercase=False).encode([text])
    assert encoded.ids[0].tolist() == theirs.encode(text).ids
    assert encoded.cut.tolist() == [max(0, words - 6)]


THREADS = """
import os, sys
from foretoken.models.layers.texts.tokens import FileTokens
tokens = FileTokens(open(sys.argv[1], "rb").read(), 9, lowercase=False)
def threads():
    return len(os.listdir("/proc/self/task"))
before = threads()
tokens.encode(["ä short text"] * 8)
tokens.encode(["ä long text " * 1000])
few = threads()
tokens.encode(["ä long text " * 100] * 8)
print(few - before, threads() - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_few_texts_take_no_thread_of_the_package(minilm_folder):
    file = minilm_folder / "tokenizer.json"
    done = subprocess.run(
        [sys.executable, "-c", THREADS, file], capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    assert few == 0
    assert many > 0, "the package has no threads that could be spared"


def test_texts_have_the_same_tokens_together_and_alone(data):
    tokens = FileTokens(data, 64, lowercase=False)
    texts = [f"T\u00e9xt {i} \u4e2d\u6587 [SEP] " * (i % 40) for i in range(200)]
    together = tokens.encode(texts)
    alone = [tokens.encode([text]) for text in texts]
    assert [ids.tolist() for ids in together.ids] == [e.ids[0].tolist() for e in alone]
    assert together.cut.tolist() == [int(each.cut[0]) for each in alone]


def test_a_limit_without_room_is_refused(data):
    assert FileTokens(data, 3, lowercase=False).encode(["a b"]).cut.tolist() == [1]
    with pytest.raises(InvalidInput, match="no room"):
        FileTokens(data, 2, lowercase=False)


def test_texts_are_put_in_lower_case_where_that_is_asked_for(tokenizer_json):
    data = tokenizer_json.read_bytes()
    plain, lower = (FileTokens(data, 99, lowercase=low) for low in (False, True))
    (upper,), _ = plain.encode(["SMALL Text"])
    (wanted,), _ = plain.encode(["small text"])
    assert upper.tolist() != wanted.tolist()
    assert lower.encode(["SMALL Text"]).ids[0].tolist() == wanted.tolist()


@pytest.mark.parametrize("wrong", [b"", b"{}", b"\xff\xfe", b'{"model": 3}'])
def test_what_is_no_tokenizer_is_refused(wrong):
    with pytest.raises(InvalidInput, match=r"tokenizer\.json"):
        FileTokens(wrong, 99, lowercase=False)


def test_bytes_stand_between_two_tokens():
    encoded = ByteTokens(6).encode(["", "aé", "abcdefg"])
    assert [each.tolist() for each in encoded.ids] == [
        [1, 2],
        [1, 100, 198, 172, 2],
        [1, 100, 101, 102, 103, 2],
    ]
    assert encoded.cut.tolist() == [0, 0, 3]


def test_a_version_without_its_tokenizer_is_not_served(data):
    config = {**FAMILY.small, "tokenizer": len(data)}
    with pytest.raises(DataLoss, match=r"tokenizer\.json"):
        tokens_of(config, {})
    kept = {"tokenizer.json": np.frombuffer(data, np.uint8)}
    (ids,), _ = tokens_of(config, kept).encode(["a"])
    assert ids.tolist() == [101, 1037, 102]
