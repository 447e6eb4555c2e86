"""Embedder in the caller's own process and by a server."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import foretoken
from foretoken import Client, Embedder
from foretoken.embeddings import parted
from foretoken.errors import ForetokenWarning, InvalidInput, InvalidType, NotFound
from foretoken.estimators import text as module
from foretoken.server.app import local_plane
from foretoken.server.settings import load_settings
from tests.serving import serving
from tests.toy_families import toy_families

WIDTH, LIMIT = 16, 32  # of the toy
TEXTS = ["one", "zw\u00f6lf", "", "one"]
LONG = "x" * (LIMIT + 8)


@pytest.fixture(scope="module")
def home(tmp_path_factory, published):
    """A data dir with a small model of texts, and the variables of whoever serves it."""
    folder = tmp_path_factory.mktemp("embedder")
    with toy_families(folder) as env:
        plane = local_plane(load_settings(data_dir=folder / "data"))
        plane.registry.register("toy", published("stateless"))
        yield folder / "data", env


@pytest.fixture(scope="module")
def address(home):
    data_dir, env = home
    with serving(data_dir=data_dir, env=env) as running:
        yield running.address


@pytest.fixture(params=["here", "server"])
def embedder(request, home):
    """The same model in this process and by a server."""
    if request.param == "here":
        return Embedder("toy", data_dir=home[0])
    return Embedder("toy", request.getfixturevalue("address"))


def test_texts_become_vectors(embedder):
    vectors = embedder.embed(TEXTS)
    assert (vectors.shape, vectors.dtype) == ((4, WIDTH), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[3])
    assert embedder.tokens.tolist() == [3, 6, 0, 3]
    assert embedder.cut.tolist() == [0, 0, 0, 0]
    half = embedder.embed(tuple(TEXTS), dimensions=WIDTH // 2, prompt="q: ")
    assert half.shape == (4, WIDTH // 2)
    assert embedder.tokens.tolist() == [6, 9, 3, 6]


def test_here_and_a_server_say_the_same(home, address):
    here, there = Embedder("toy", data_dir=home[0]), Embedder("toy", Client(address))
    given = [f"text {i} {'y' * (i % 40)}" for i in range(80)]
    with pytest.warns(ForetokenWarning):
        ours = here.embed(given, 8, "q: ")
    with pytest.warns(ForetokenWarning):
        theirs = there.embed(given, 8, "q: ")
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_array_equal(here.cut, there.cut)


def test_what_is_cut_is_told_once(embedder, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 2)
    given = [LONG, "short", LONG, LONG, "short", LONG[:-1]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder.embed(given)
    assert [each.category for each in caught] == [ForetokenWarning]
    assert "4 of 6 texts are longer than toy reads" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert embedder.cut.tolist() == [8, 0, 8, 8, 0, 7]
    assert embedder.tokens.tolist() == [LIMIT, 5, LIMIT, LIMIT, 5, LIMIT]


def test_long_lists_go_in_chunks(embedder, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 50)
    given = [f"text {i}" for i in range(430)]
    vectors = embedder.embed(given)
    assert vectors.shape == (430, WIDTH)
    for i in (0, 49, 50, 429):
        np.testing.assert_allclose(embedder.embed([given[i]])[0], vectors[i], atol=1e-6)
    chunks = (given[i : i + 43] for i in range(0, 430, 43))
    parts = list(embedder.stream(chunks))
    assert [len(part) for part in parts] == [43] * 10
    np.testing.assert_allclose(np.concatenate([p.vectors for p in parts]), vectors, atol=1e-6)
    assert {part.ref for part in parts} == {"toy:1"}


def test_long_texts_go_in_as_many_messages_as_they_take(address):
    embedder = Embedder("toy", address)
    given = [f"{i} {'y' * 20_000}" for i in range(300)]  # a message holds 4 MiB
    with pytest.warns(ForetokenWarning):
        vectors = embedder.embed(given)
    assert vectors.shape == (300, WIDTH)
    np.testing.assert_allclose(vectors, embedder.embed([g[:LIMIT] for g in given]), atol=1e-6)
    with pytest.warns(ForetokenWarning):
        embedder.embed(["a"] * 300, prompt="q" * 20_000)
    assert embedder.tokens.tolist() == [LIMIT] * 300


def test_texts_are_parted_by_number_and_size():
    parts = parted(["aa", "b", "", "cccc", "d", "e"], len, most=3, room=3)
    assert list(parts) == [["aa", "b", ""], ["cccc"], ["d", "e"]]
    assert list(parted("abcde", len, most=2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(parted([], len, most=2)) == []


def test_a_text_that_is_too_long_is_named(embedder, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 50)
    given = [f"text {i}" for i in range(300)]
    given[217] = LONG
    where = "text 217" if embedder.server is None else "of the texts from 200 on: text 17"
    with pytest.raises(InvalidInput, match=f"{where} has 40 tokens, of which toy reads 32"):
        embedder.embed(given, truncate="error")


@pytest.mark.parametrize(
    ("given", "options", "kind", "said"),
    [
        ([], {}, InvalidInput, "texts must not be empty"),
        ("text", {}, InvalidType, r"\[text\]"),
        (None, {}, InvalidType, "a list of str, not a NoneType"),
        (["a", 3], {}, InvalidType, "text 1 is the int 3"),
        (["a\udfff"], {}, InvalidInput, "text 0 is not Unicode"),
        (["a"], {"dimensions": 5}, InvalidInput, "16 or 8, not 5"),
        (["a"], {"dimensions": 0}, InvalidInput, "1 or more"),
        (["a"], {"dimensions": "8"}, InvalidInput, "int"),
        (["a"], {"dimensions": 8.0}, InvalidInput, "int"),
        (["a"], {"prompt": 3}, InvalidInput, "prompt"),
        (["a"], {"truncate": "start"}, InvalidInput, "'end' or 'error'"),
        (["a"], {"prompt": "\ud800"}, InvalidInput, "prompt"),
    ],
)
def test_what_is_refused(embedder, given, options, kind, said):
    with pytest.raises(kind, match=said):
        embedder.embed(given, **options)


def test_models_that_are_not_there_or_of_another_task(home, address):
    for where in ({"data_dir": home[0]}, {"server": address}):
        with pytest.raises(NotFound, match="nobody"):
            Embedder("nobody", **where).embed(["a"])
        with pytest.raises(InvalidInput, match="curve requests"):
            Embedder("lcpfn", **where).embed(["a"])


def test_a_server_goes_without_a_data_dir_and_needs_an_address(tmp_path):
    with pytest.raises(InvalidInput, match="data_dir"):
        Embedder(server="localhost:8100", data_dir=tmp_path)
    with pytest.raises(InvalidInput, match="host:port"):
        Embedder(server="http://localhost:8100/")


def test_it_can_be_pickled(embedder):
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.embed(TEXTS), embedder.embed(TEXTS))


def test_its_default_is_the_model_in_the_box():
    assert Embedder().model == "static-minilm"
    assert "Embedder" in foretoken.__all__


def test_importing_it_needs_no_server():
    code = "import sys; from foretoken import Embedder; Embedder(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "grpc", "foretoken.server", "foretoken.models"} & set(done.stdout.split())
