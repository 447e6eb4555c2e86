"""Predictors: alone or in company, from a cache or without, in steps or at once: the same reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from foretoken.models.artefact import WEIGHTS
from foretoken.models.contract import Arrays, Kind, Predictor, Steps
from foretoken.models.tasks import GenerationRequest, SequenceRequest
from foretoken.server.engine.drive import Generate, alone
from foretoken.server.engine.generation.running import Running
from foretoken.server.loading import generator_of
from foretoken.server.runtimes.base import runs_layers
from foretoken.server.runtimes.torch import TorchRuntime
from foretoken.server.settings import Settings
from tests.conformance.requests import PROMPTS, bare, requests, sequence
from tests.conformance.subjects import Subject, subjects

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
BUDGET = 4096


def predictor(subject: Subject) -> Predictor:
    artefact = subject.artefact
    return subject.family.predictor(artefact.config, load_file(artefact.files[WEIGHTS]))


def answers(subject: Subject, steps: list[Steps], budget: int = BUDGET, **kwargs: Any) -> list[Any]:
    if runs_layers(subject.artefact, subject.family):
        kwargs["generate"] = generating(subject)
    return alone(steps, subject.graphs, subject.executable.run, budget, **kwargs)


def generating(subject: Subject) -> Generate:
    """What continues tokens by a subject's layers, afresh for each use."""
    executable = TorchRuntime("cpu").load(subject.artefact, subject.family, 1)
    generator = generator_of(executable, Settings(generation_bytes=1 << 20))
    return Running(generator, asyncio.to_thread).generate


def numbers(reply: Any) -> Iterator[np.ndarray]:
    """All numbers in a reply, in order."""
    if is_dataclass(reply):
        for field in fields(reply):
            yield from numbers(getattr(reply, field.name))
    elif isinstance(reply, dict):
        for key in sorted(reply):
            yield from numbers(reply[key])
    elif isinstance(reply, (list, tuple)):
        for item in reply:
            yield from numbers(item)
    elif isinstance(reply, (int, float, np.number)):
        yield np.array(reply)
    elif isinstance(reply, np.ndarray) and reply.dtype.kind in "fiu":
        yield reply


def assert_close(wanted: Any, got: Any) -> None:
    pairs = list(zip(numbers(wanted), numbers(got), strict=True))
    assert pairs, "a reply without numbers"
    for a, b in pairs:
        np.testing.assert_allclose(b, a, **CLOSE, strict=True)


def copied(state: Arrays) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in state.items()}


@subjects()
@pytest.mark.parametrize("budget", [1, 40, BUDGET])
def test_requests_in_company_are_answered_as_alone(load, name, budget):
    subject = load(name)
    model = predictor(subject)
    asked = requests(subject.family, subject.artefact.config)
    alone = [answers(subject, [model.predict(r)])[0] for r in asked]
    company = answers(subject, [model.predict(r) for r in asked], budget)
    for a, b in zip(alone, company, strict=True):
        assert_close(a, b)


@subjects(Kind.IN_CONTEXT)
def test_cached_is_uncached(load, name):
    subject = load(name)
    model = predictor(subject)
    asked = requests(subject.family, subject.artefact.config)
    uncached = answers(subject, [model.predict(r) for r in asked])
    contexts = answers(subject, [model.fit(r) for r in asked])
    questions = [bare(r) for r in asked]
    kept = [[copied(s) for s in context.states] for context in contexts]
    for _ in range(2):  # a context is only read, so it answers again
        steps = [model.predict(r, c) for r, c in zip(questions, contexts, strict=True)]
        for a, b in zip(uncached, answers(subject, steps), strict=True):
            assert_close(a, b)
    for before, context in zip(kept, contexts, strict=True):
        for a, b in zip(before, context.states, strict=True):
            assert all(np.array_equal(a[t], b[t]) for t in a)


@subjects(Kind.RECURRENT)
def test_step_by_step_is_a_scan(load, name):
    subject = load(name)
    model = predictor(subject)
    rng = np.random.default_rng(2)
    asked = sequence(rng, subject.family, subject.artefact.config, T=9)
    at_once, stepwise = copied(model.start()), copied(model.start())
    (whole,) = answers(subject, [model.predict(asked, at_once)])
    parts = [
        answers(subject, [model.predict(SequenceRequest(row[None]), stepwise)])[0]
        for row in asked.values
    ]
    for output, wanted in whole.outputs.items():
        got = np.concatenate([p.outputs[output] for p in parts])
        np.testing.assert_allclose(got, wanted, **CLOSE, strict=True)
    assert_close(at_once, stepwise)


@subjects(Kind.RECURRENT)
def test_a_scan_in_pieces_is_a_scan(load, name):
    subject = load(name)
    model = predictor(subject)
    rng = np.random.default_rng(3)
    asked = sequence(rng, subject.family, subject.artefact.config, T=12)
    (whole,) = answers(subject, [model.predict(asked)])
    state, pieces = copied(model.start()), np.split(asked.values, [2, 3, 8])
    made = [answers(subject, [model.predict(SequenceRequest(p), state)])[0] for p in pieces]
    for output, wanted in whole.outputs.items():
        got = np.concatenate([m.outputs[output] for m in made])
        np.testing.assert_allclose(got, wanted, **CLOSE, strict=True)


@subjects(Kind.RECURRENT)
def test_restored_is_undisturbed_bit_for_bit(load, name):
    subject = load(name)
    model = predictor(subject)
    rng = np.random.default_rng(4)
    first, *later = (
        sequence(rng, subject.family, subject.artefact.config, T) for T in (5, 1, 7, 1)
    )
    state = copied(model.start())
    answers(subject, [model.predict(first, state)])
    restored = copied(state)
    undisturbed = [answers(subject, [model.predict(r, state)])[0] for r in later]
    again = [answers(subject, [model.predict(r, restored)])[0] for r in later]
    for a, b in zip(undisturbed, again, strict=True):
        assert all(np.array_equal(a.outputs[o], b.outputs[o]) for o in a.outputs)
    assert all(np.array_equal(state[t], restored[t]) for t in state)


@subjects(Kind.GENERATIVE)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prefill_and_decode_are_one_prefill(load, name, prompt):
    subject = load(name)
    model = predictor(subject)
    (reply,) = answers(subject, [model.predict(GenerationRequest(np.array(prompt), 6))])
    assert len(reply.tokens) == 6
    for i, token in enumerate(reply.tokens):
        known = np.array([*prompt, *(t.id for t in reply.tokens[:i])])
        (afresh,) = answers(subject, [model.predict(GenerationRequest(known, max_tokens=1))])
        assert afresh.tokens[0].id == token.id
        assert afresh.tokens[0].logprob == pytest.approx(token.logprob, rel=1e-5, abs=1e-5)


@subjects(Kind.GENERATIVE)
def test_tokens_are_emitted_as_they_come(load, name):
    subject = load(name)
    model = predictor(subject)
    asked = [GenerationRequest(np.array(p), max_tokens=4) for p in PROMPTS]
    emitted: list[tuple[int, Any]] = []
    steps = [model.predict(r) for r in asked]
    replies = answers(subject, steps, emit=lambda i, token: emitted.append((i, token)))
    for i, reply in enumerate(replies):
        assert [token for j, token in emitted if j == i] == list(reply.tokens)
    assert [i for i, _ in emitted[:3]] == [0, 1, 2], "requests take turns"
