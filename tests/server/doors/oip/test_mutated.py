"""Mutated messages: whatever parses is answered or refused with an error of the tree."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from foretoken.errors import ForetokenError
from foretoken.models.tasks import SequenceReply, TabularReply, Task, TextReply
from foretoken.proto import grpc_service as oip
from foretoken.server.doors.oip.infer import Inference
from foretoken.server.settings import load_settings
from foretoken.server.terms import Terms
from tests.server.doors.oip.door import request
from tests.server.doors.oip.fake import FakePlane, posterior

ZEROS = np.zeros(1, np.int64)
MODELS = {
    Task.CURVE: posterior,
    Task.TEXT: lambda asked: TextReply(np.zeros((1, 2), np.float32), ZEROS, ZEROS),
    Task.TABULAR: lambda asked: TabularReply(np.zeros((1, 2)), np.array(["a", "b"]), np.zeros(1)),
    Task.SEQUENCE: lambda asked: SequenceReply({"y": asked.values}),
}
VALUES = np.linspace(0.1, 0.9, 8)
PARAMETERS = {"minimize": True, "bounds_high": 2.0, "timeout": 10_000_000, "priority": 3}
REQUESTS = {
    Task.CURVE: [
        request({"values": VALUES, "at": np.array([20, 30])}, parameters=PARAMETERS, id="x"),
        request({"values": np.stack([VALUES, VALUES]), "steps": np.arange(1, 9)}, raw=False),
    ],
    Task.TEXT: [request({"text": np.array([b"one", b"two"], object)}, outputs=["cut"])],
    Task.TABULAR: [request({"X_train": np.eye(3), "y_train": np.arange(3), "X_test": np.eye(3)})],
    Task.SEQUENCE: [request({"values": np.eye(4, dtype=np.float32)})],
}


class Call:
    metadata = {}  # noqa: RUF012
    terms = Terms()

    def answered(self, answers):
        assert answers.replies


def mutated(data, rng):
    """``data`` with a few bytes changed, inserted or removed."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        i = rng.randrange(len(made))
        match rng.randrange(3):
            case 0:
                made[i] = rng.randrange(256)
            case 1:
                made.insert(i, rng.randrange(256))
            case _:
                del made[i]
    return bytes(made)


async def outcomes(task, count):
    """How many mutated requests were malformed, refused and answered."""
    rng = random.Random(0)
    inference = Inference(FakePlane(task, MODELS[task]), load_settings())
    originals = [made.SerializeToString() for made in REQUESTS[task]]
    malformed = refused = answered = 0
    for _ in range(count):
        try:
            made = oip.ModelInferRequest.FromString(mutated(rng.choice(originals), rng))
        except DecodeError:
            malformed += 1
            continue
        try:
            response = await inference.infer(made, Call())
        except ForetokenError:
            refused += 1
        else:
            assert len(response.outputs) == len(response.raw_output_contents)
            answered += 1
    return malformed, refused, answered


def check(task, count):
    malformed, refused, answered = asyncio.run(outcomes(task, count))
    assert malformed + refused + answered == count
    assert min(malformed, refused, answered) > 0


@pytest.mark.parametrize("task", MODELS)
def test_nothing_but_errors_of_the_tree_comes_of_mutations(task):
    check(task, 1500)


@pytest.mark.slow
@pytest.mark.parametrize("task", MODELS)
def test_nothing_but_errors_of_the_tree_comes_of_many_mutations(task):
    check(task, 50_000)
