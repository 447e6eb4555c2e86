"""The static encoder in the box: small, without torch, and able to tell meanings apart."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from foretoken import Embedder
from foretoken.models.catalog import bundled

LARGEST = 10 * 2**20  # bytes of the whole artefact

PAIRS = [
    ("the cat sat on the mat", "a kitten was sitting on a rug"),
    ("interest rates rose again", "the central bank raised its rates"),
    ("return the largest element of a list", "find the maximum in an array"),
    ("how to bake bread", "a recipe for loaves from flour and yeast"),
    ("the patient was given antibiotics", "doctors treated the infection with medicine"),
]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FORETOKEN_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        yield Embedder("static-minilm")


def test_it_fits_in_the_box():
    sizes = [path.stat().st_size for path in bundled()["static_encoder"].iterdir()]
    assert sum(sizes) <= LARGEST


def test_texts_that_say_much_the_same_are_each_others_nearest(embedder):
    one, other = (embedder.embed([pair[i] for pair in PAIRS]) for i in (0, 1))
    assert one.dtype == np.float32
    assert one.shape == (len(PAIRS), 256)
    cosines = one @ other.T
    np.testing.assert_array_equal(cosines.argmax(0), range(len(PAIRS)))
    np.testing.assert_array_equal(cosines.argmax(1), range(len(PAIRS)))


def test_signs_hardly_turn_a_text_and_still_are_texts(embedder):
    plain, pointed, signs, none = embedder.embed(["river bank", "river... (bank)!!", "...", ""])
    assert plain @ pointed > 0.999
    assert np.linalg.norm(signs) == pytest.approx(1, abs=1e-5)
    assert not none.any()


def test_many_texts_have_the_vectors_that_each_has_alone(embedder):
    rng = np.random.default_rng(0)
    words = " ".join(a for pair in PAIRS for a in pair).split()
    texts = [" ".join(rng.choice(words, n)) for n in rng.integers(1, 300, 200)]
    together = embedder.embed(texts)
    for i in range(0, 200, 20):
        np.testing.assert_allclose(embedder.embed([texts[i]])[0], together[i], rtol=0, atol=2e-6)


def test_it_is_served_without_torch(tmp_path):
    said = (
        "import sys; from foretoken import Embedder; "
        "print(Embedder('static-minilm').embed(['a', 'b']).shape, 'torch' in sys.modules)"
    )
    env = {**os.environ, "FORETOKEN_DATA_DIR": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-c", said], env=env, capture_output=True, text=True, check=True
    )
    assert made.stdout.split("\n")[0] == "(2, 256) False"
