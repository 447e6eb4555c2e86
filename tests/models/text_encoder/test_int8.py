"""all-MiniLM-L6-v2 in 8 bits: a quarter of the matrices' bytes, and much the same vectors."""

from __future__ import annotations

import numpy as np
import pytest

from foretoken.models.artefact import WEIGHTS
from foretoken.server.publish import quantised
from tests.models.text_encoder.running import Running
from tests.models.text_encoder.test_minilm import cosines, texts


@pytest.fixture(scope="module")
def int8(minilm, tmp_path_factory) -> Running:
    return Running(quantised(minilm.artefact, tmp_path_factory.mktemp("int8") / "out"))


def test_every_text_keeps_its_direction(minilm, int8):
    given = texts(300)
    found = cosines(minilm(*given).vectors, int8(*given).vectors)
    assert found.min() >= 0.99
    assert found.mean() >= 0.998


def test_the_least_cosine_over_the_examples_is_stored(int8):
    loss = int8.artefact.export["forward"]["loss"]
    assert 0.99 < loss["cosine"] < 1
    assert loss["cosine"] == min(example["cosine"] for example in loss["examples"])


def test_it_is_smaller_and_reads_as_before(minilm, int8):
    sizes = [each.artefact.files[WEIGHTS].stat().st_size for each in (int8, minilm)]
    assert sizes[0] < 0.7 * sizes[1]  # a half is the table of tokens
    given = ["", "a text", "word " * 400]
    one, other = int8(*given), minilm(*given)
    np.testing.assert_array_equal(one.tokens, other.tokens)
    np.testing.assert_array_equal(one.cut, other.cut)
