"""Tables by the protocol: contexts by id, as a tensor or a parameter, and what is fitted."""

from __future__ import annotations

import asyncio
import tracemalloc

import grpc
import numpy as np
import pytest

from foretoken.proto import grpc_service as oip
from foretoken.server.doors.tasks.base import Limits
from foretoken.server.doors.tasks.tabular import CODEC
from foretoken.server.registry.registry import Registry
from tests.asynchronous import awaited
from tests.server.doors.oip.door import arrays, request, serving

RNG = np.random.default_rng(2)
X, LABELS, TEST = RNG.normal(size=(9, 3)), np.array([4, 2, 2] * 3), RNG.normal(size=(4, 3))
KNOWN = {"X_train": X, "y_train": LABELS}
LIMITS = Limits(tokens=1 << 20, reply_bytes=1 << 20)
NO_CONTEXT = "ctx-" + "0" * 64


@pytest.fixture(scope="module")
def registry(tmp_path_factory, published):
    with Registry.open(tmp_path_factory.mktemp("tables") / "data") as registry:
        registry.register("tiny", published("tabpfn"))
        yield registry


def asked(tensors, **fields):
    return request(tensors, "tiny", **fields)


def texts(response, name="context_id"):
    place = [tensor.name for tensor in response.outputs].index(name)
    raw = response.raw_output_contents[place]
    return raw[4:].decode()


def cache(response):
    return response.parameters["cache"].string_param


@awaited
async def test_a_context_by_its_id(registry):
    async with serving(registry) as stub:
        inline = await stub.ModelInfer(asked({**KNOWN, "X_test": TEST}))
        made = await stub.ModelInfer(asked(KNOWN, outputs=["context_id"]))
        again = await stub.ModelInfer(asked(KNOWN))
        id_ = texts(made)
        assert id_.startswith("ctx-")
        assert texts(again) == id_
        assert [t.name for t in again.outputs] == ["context_id"]
        assert (cache(inline), cache(made), cache(again)) == ("MISS", "MISS", "HIT")
        tensor = {"context_id": np.array([id_.encode()], object), "X_test": TEST}
        by_tensor = await stub.ModelInfer(asked(tensor))
        by_parameter = await stub.ModelInfer(
            asked({"X_test": TEST}, parameters={"context_id": id_})
        )
        assert (cache(by_tensor), cache(by_parameter)) == ("HIT", "HIT")
        assert by_tensor.raw_output_contents == by_parameter.raw_output_contents
        found, expected = arrays(by_tensor), arrays(inline)
        assert list(found) == ["probabilities", "classes"]
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-5)
        assert found["classes"].tolist() == [2, 4]
        every = await stub.ModelInfer(
            asked(tensor, outputs=["context_id", "uncertainty", "classes", "probabilities"])
        )
        assert texts(every) == id_
        assert [list(t.shape) for t in every.outputs] == [[1], [4], [2], [4, 2]]


@pytest.mark.parametrize(
    ("tensors", "fields", "code", "told"),
    [
        ({"X_test": TEST}, {}, "INVALID_ARGUMENT", "X_train, y_train; give"),
        ({"X_train": X, "X_test": TEST}, {}, "INVALID_ARGUMENT", "missing: y_train"),
        ({}, {"parameters": {"context_id": NO_CONTEXT}}, "INVALID_ARGUMENT", "'X_test' is missing"),
        (
            {"X_test": TEST, "y_train": LABELS},
            {"parameters": {"context_id": NO_CONTEXT}},
            "INVALID_ARGUMENT",
            "stands for y_train",
        ),
        ({"X_test": TEST}, {"parameters": {"context_id": 3}}, "INVALID_ARGUMENT", "not 3"),
        (
            {"X_test": TEST, "context_id": np.array([b"a", b"b"], object)},
            {},
            "INVALID_ARGUMENT",
            "has 2 elements",
        ),
        (
            {"X_test": TEST, "context_id": np.array([b"a"], object)},
            {"parameters": {"context_id": "a"}},
            "INVALID_ARGUMENT",
            "give one of them",
        ),
        (
            {"X_test": TEST},
            {"parameters": {"context_id": "a", "members": 2}},
            "INVALID_ARGUMENT",
            "leave out members",
        ),
        ({"X_test": TEST}, {"parameters": {"context_id": NO_CONTEXT}}, "NOT_FOUND", NO_CONTEXT),
        (KNOWN, {"outputs": ["probabilities"]}, "INVALID_ARGUMENT", "needs X_test"),
        (KNOWN, {"parameters": {"members": True}}, "INVALID_ARGUMENT", "a number or a string"),
        (KNOWN, {"parameters": {"limit": 1}}, "INVALID_ARGUMENT", "'refuse' or 'subsample'"),
        (KNOWN, {"parameters": {"limit": "all"}}, "INVALID_ARGUMENT", "'refuse' or 'subsample'"),
        (KNOWN, {"parameters": {"members": "2"}}, "INVALID_ARGUMENT", "a whole number from 1"),
    ],
)
def test_what_is_no_request(registry, tensors, fields, code, told):
    async def refused():
        async with serving(registry) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ModelInfer(asked(tensors, **fields))
            assert (caught.value.code().name, told in caught.value.details()) == (code, True), (
                caught.value.details()
            )

    asyncio.run(refused())


@awaited
async def test_options_are_numbers_or_strings(registry):
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(9, 120))
    large = {"X_train": wide, "y_train": LABELS, "X_test": wide[:4]}
    async with serving(registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="limit='subsample'") as caught:
            await stub.ModelInfer(asked(large))
        assert caught.value.code().name == "INVALID_ARGUMENT"
        chosen = {"limit": "subsample", "members": 2, "temperature": 0.5}
        found = arrays(await stub.ModelInfer(asked(large, parameters=chosen)))
        np.testing.assert_allclose(found["probabilities"].sum(axis=1), 1)


@awaited
async def test_shapes_that_are_announced_are_refused_before_they_take_memory(registry):
    made = oip.ModelInferRequest(model_name="tiny")
    for name, datatype, shape in (("X_train", "FP64", [10**6, 10**4]), ("y_train", "INT64", [2])):
        made.inputs.add(name=name, datatype=datatype, shape=shape)
        made.raw_input_contents.append(bytes(16))
    async with serving(registry) as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="10000000000 elements") as caught:
            await stub.ModelInfer(made)
        assert caught.value.code().name == "INVALID_ARGUMENT"


def test_a_long_label_takes_its_own_length_only():
    labels = np.array([b"x" * 1_000_000, *[b"a", b"b"] * 500], object)
    tracemalloc.start()
    try:
        found = CODEC.decode({"X_train": np.zeros((1001, 2)), "y_train": labels}, {}, LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.requests[0].target.tolist() == [label.decode() for label in labels]
    assert peak < 50e6  # as an array of texts of one length it is 4 GB


@awaited
async def test_what_is_told_of_the_tensors(registry):
    async with serving(registry) as stub:
        said = (await stub.ModelConfig(oip.ModelConfigRequest(name="tiny"))).config
        assert {t.name: t.optional for t in said.input} == dict.fromkeys(
            ("X_train", "y_train", "X_test", "context_id"), True
        )
        assert [t.name for t in said.output] == [
            "probabilities",
            "classes",
            "uncertainty",
            "context_id",
        ]
