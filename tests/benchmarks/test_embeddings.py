"""What text encoders are compared on and by: texts, the work that they are, cosines and rates."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import embedding_load, embeddings
from benchmarks.embedding import corpus
from benchmarks.embedding.sides import Command, Side
from benchmarks.embedding.work import Tokens, flops
from foretoken.models.text_encoder import rows
from foretoken.models.text_encoder.config import BertShape
from foretoken.models.text_encoder.model import BertBody, TextEncoder


def test_texts_are_the_same_ones_again_all_different_and_of_all_lengths():
    given = corpus.texts(400)
    words = np.array([len(text.split()) for text in given])
    assert len(given) == len(set(given)) == 400
    assert given == corpus.texts(400)
    assert words.min() == 1
    assert words.max() >= corpus.PASSAGE
    assert 5 < np.median(words) < 60


def test_a_machine_without_documentation_has_as_many_texts(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "DOC", tmp_path)
    assert len(set(corpus.texts(400))) == 400


def test_files_that_are_no_text_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "DOC", tmp_path)
    (tmp_path / "README").write_text("What it is.\n\nHow it is used.")
    (tmp_path / "NEWS.gz").write_bytes(b"not packed")
    (tmp_path / "notes.txt").write_bytes(b"\xff\xfe")
    assert list(corpus._documents()) == ["What it is.\n\nHow it is used."]


def test_operations_of_texts_are_those_that_torch_counts(monkeypatch):
    monkeypatch.setattr(rows, "STEPS", ((math.inf, 1),))  # no tokens beside those of the texts
    shape = BertShape(vocab=50, width=16, layers=3, heads=2, mlp=40, positions=32)
    module, lengths = TextEncoder(BertBody(shape), "mean").eval(), np.array([5, 9, 20])
    attention = sdpa_kernel(SDPBackend.MATH)  # the only one whose products it counts on CPUs
    with FlopCounterMode(display=False) as counter, torch.no_grad(), attention:
        for T in lengths:
            module(torch.zeros(1, T, dtype=torch.long), torch.tensor([T]))
    assert flops(shape, lengths) == counter.get_total_flops()


def test_cosines_do_not_depend_on_lengths_of_vectors():
    a = np.array([[1.0, 0], [0, 2]], np.float32)
    b = np.array([[3.0, 0], [3, 4]], np.float32)
    found = embeddings.cosines(a, b)
    assert found == pytest.approx({"least_cosine": 0.8, "mean_cosine": 0.9})
    assert embeddings.cosines(a[:, :1], b) == {}


def test_rates_are_of_the_processor_on_one_core_and_else_of_the_clock():
    names = (*embeddings.PEERS, "ours, int8", "ours, static")
    made = {name: np.ones((4, 2), np.float32) for name in names}
    found = {name: {"seconds": 8.0, "cpu_seconds": 4.0} for name in names}
    found["ours, int8"] = {"seconds": 2.0, "cpu_seconds": 2.0}
    counted = Tokens(np.array([5, 5, 5, 50]), np.array([5, 5, 5, 9]))
    gemm = {"float32": 100.0, "int8": 400.0}
    one, two = (embeddings.table(found, made, counted, 80.0, gemm, cores) for cores in (1, 2))
    assert (one["ours, int8"]["texts_per_s"], one["ours, int8"]["tokens_per_s"]) == (2.0, 12.0)
    assert one["ours, int8"]["times sentence-transformers"] == 2.0
    assert two["ours, int8"]["times sentence-transformers"] == 4.0
    assert one["ours, int8"]["of_gemm_rate"] == pytest.approx(80 / 2 / 400)
    assert one["sentence-transformers"]["of_gemm_rate"] == pytest.approx(80 / 4 / 100)
    assert "of_gemm_rate" not in one["ours, static"]


def test_a_side_that_dies_is_told_of():
    command = Command(Path(sys.executable), ["-c", "raise SystemExit(3)"], [])
    with pytest.raises(RuntimeError, match="ended with 3"):
        Side(command, [min(embeddings.CORES)])


def test_answers_of_both_kinds_count_by_their_share_of_the_capacity():
    found = {
        "queries": {"codes": {"OK": 300, "RESOURCE_EXHAUSTED": 900}},
        "long": {"codes": {"DEADLINE_EXCEEDED": 2, "OK": 1}},
        "seconds": 10.0,
    }
    capacity = {"queries": 100.0, "long": 0.5}
    assert embedding_load.answered(found, capacity) == pytest.approx(0.3 + 0.2)
