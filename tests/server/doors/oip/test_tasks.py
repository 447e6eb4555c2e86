"""Tensors of each task to typed requests and back, by models that answer what they are told."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken.models.tasks import (
    GenerationRequest,
    SequenceReply,
    TabularReply,
    Task,
    TextReply,
)
from foretoken.server.doors import tasks
from foretoken.server.settings import load_settings
from tests.server.doors.oip.door import connected, request
from tests.server.doors.oip.fake import FakePlane

X, LABELS = np.array([[0.0, 1], [2, 3], [4, np.nan]]), np.array([3, 1, 3])
TEXTS = np.array([b"one", "zw\u00f6lf".encode(), b""], object)


def infer(plane, made, **options):
    async def run():
        async with connected(plane, load_settings(**options), None) as stub:
            return await stub.ModelInfer(made)

    return asyncio.run(run())


def refused(plane, made, **options):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        infer(plane, made, **options)
    return caught.value.code().name, caught.value.details()


def tabular():
    def answer(asked):
        classes = np.unique(asked.target)
        return TabularReply(
            np.full((len(asked.test["x0"]), len(classes)), 0.5),
            classes,
            np.zeros(len(asked.test["x0"])),
        )

    return FakePlane(Task.TABULAR, answer)


def text():
    def answer(asked):
        lengths = np.array([len(t) for t in asked.texts])
        return TextReply(
            np.ones((len(lengths), asked.dimensions or 4), np.float32), lengths, 0 * lengths
        )

    return FakePlane(Task.TEXT, answer)


def sequence():
    return FakePlane(Task.SEQUENCE, lambda asked: SequenceReply({"y": asked.values.cumsum(0)}))


def generation():
    return FakePlane(Task.GENERATION, lambda asked: GenerationRequest)


def test_every_task_has_a_codec():
    for task in Task:
        assert tasks.codec(task) is tasks.codec(Task(str(task)))


def test_tables_become_columns_and_classes_come_back():
    plane = tabular()
    made = request({"X_train": X, "y_train": LABELS, "X_test": X[:2]}, parameters={"members": 4})
    response = infer(plane, made)
    (asked,) = plane.requests
    np.testing.assert_array_equal(asked.train["x1"], [1, 3, np.nan])
    np.testing.assert_array_equal(asked.test["x0"], [0, 2])
    assert (asked.target.tolist(), asked.options) == ([3, 1, 3], {"members": 4.0})
    assert [list(tensor.shape) for tensor in response.outputs] == [[2, 2], [2]]
    assert response.outputs[1].datatype == "INT64"
    assert np.frombuffer(response.raw_output_contents[1], "<i8").tolist() == [1, 3]


def test_labels_may_be_text():
    labels = np.array([b"no", b"yes", b"no"], object)
    made = request({"X_train": X, "y_train": labels, "X_test": X}, outputs=["classes"])
    response = infer(tabular(), made)
    assert response.outputs[0].datatype == "BYTES"
    assert response.raw_output_contents[0] == b"\x02\0\0\0no\x03\0\0\0yes"


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"y_train": LABELS[:2]}, "'X_train' has 3 rows, 'y_train' 2"),
        ({"X_test": X[:, :1]}, "2 features, 'X_test' 1"),
        ({"y_train": X[0]}, "'y_train' has the datatype 'FP64'"),
        ({"y_train": np.array([b"\xff", b"a", b"b"], object)}, "element 0 is not UTF-8"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tensors, told):
    whole = {"X_train": X, "y_train": LABELS, "X_test": X} | tensors
    code, details = refused(tabular(), request(whole))
    assert (code, told in details) == ("INVALID_ARGUMENT", True)


def test_texts_are_embedded_together():
    plane = text()
    parameters = {"dimensions": 2, "prompt": "query: ", "truncate": "error"}
    response = infer(plane, request({"text": TEXTS}, parameters=parameters))
    (asked,) = plane.requests
    assert asked.texts == ("one", "zw\u00f6lf", "")
    assert (asked.dimensions, asked.prompt, asked.truncate) == (2, "query: ", "error")
    assert [(t.name, t.datatype, list(t.shape)) for t in response.outputs] == [
        ("embedding", "FP32", [3, 2]),
        ("tokens", "INT64", [3]),
        ("cut", "INT64", [3]),
    ]


def test_texts_may_be_typed_contents():
    plane = text()
    made = request({"text": TEXTS})
    made.inputs[0].contents.bytes_contents.extend(TEXTS.tolist())
    del made.raw_input_contents[:]
    infer(plane, made)
    assert plane.requests[0].texts == ("one", "zw\u00f6lf", "")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"\x03\0\0\0one", "each behind 4 bytes"),
        (b"\x03\0\0\0one\x02\0\0\0zw\x09\0\0\0", "element 2 of BYTES ends beyond"),
        (b"\x01\0\0\0a\x09\0\0\0aaaa", "element 1 of BYTES ends beyond"),
        (b"\xff\xff\xff\xff" * 3, "element 0 of BYTES ends beyond"),
        (b"\0\0\0\0\0\0\0\0\0\0\0\0\0", "end after 12"),
        (b"\0\0\0\0\x02\0\0\0\xc3\x28\0\0\0\0", "element 1 is not UTF-8"),
    ],
)
def test_malformed_strings_are_refused(raw, told):
    made = request({"text": TEXTS})
    made.raw_input_contents[0] = raw
    code, details = refused(text(), made)
    assert (code, told in details) == ("INVALID_ARGUMENT", True), details


@pytest.mark.parametrize(
    "parameters", [{"dimensions": "2"}, {"dimensions": True}, {"prompt": 1}, {"truncate": "middle"}]
)
def test_wrong_options_of_texts_are_refused(parameters):
    assert refused(text(), request({"text": TEXTS}, parameters=parameters))[0] == "INVALID_ARGUMENT"


def test_no_more_texts_than_the_settings_allow():
    code, details = refused(text(), request({"text": TEXTS}), request_tokens=2)
    assert code == "INVALID_ARGUMENT"
    assert "'text' has the shape [3], 3 elements; this server takes at most 2" in details
    assert refused(text(), request({"text": TEXTS[:0]}))[0] == "INVALID_ARGUMENT"


def test_a_sequence_is_answered_by_the_model_s_own_outputs():
    values = np.arange(6).reshape(3, 2)
    response = infer(sequence(), request({"values": values}))
    assert response.outputs[0].name == "y"
    found = np.frombuffer(response.raw_output_contents[0]).reshape(3, 2)
    np.testing.assert_array_equal(found, values.cumsum(0))
    code, details = refused(sequence(), request({"values": values}, outputs=["z"]))
    assert (code, details) == ("INVALID_ARGUMENT", "no output 'z'; there are y")
    assert "may have 2" in refused(sequence(), request({"values": values}), request_tokens=2)[1]


def test_generation_needs_a_prompt():
    code, details = refused(generation(), request({}))
    assert (code, "'text_input'" in details) == ("INVALID_ARGUMENT", True)


@pytest.mark.parametrize(
    ("datatype", "field", "fits", "beyond"),
    [
        ("INT8", "int_contents", [-128, 127], [128, 0]),
        ("INT16", "int_contents", [-5, 5], [1 << 15, 0]),
        ("UINT8", "uint_contents", [0, 255], [256, 0]),
        ("UINT16", "uint_contents", [0, 65535], [65536, 0]),
        ("UINT32", "uint_contents", [0, 4294967295], None),
        ("INT32", "int_contents", [-2147483648, 0], None),
        ("UINT64", "uint64_contents", [0, 1 << 40], None),
    ],
)
def test_typed_integers_keep_their_range(datatype, field, fits, beyond):
    plane = sequence()
    made = request({"values": np.zeros((2, 1))})
    made.inputs[0].datatype = datatype
    del made.raw_input_contents[:]
    getattr(made.inputs[0].contents, field).extend(fits)
    infer(plane, made)
    assert plane.requests[0].values.ravel().tolist() == fits
    if beyond is not None:
        del getattr(made.inputs[0].contents, field)[:]
        getattr(made.inputs[0].contents, field).extend(beyond)
        code, details = refused(plane, made)
        assert (code, f"is no {datatype}" in details) == ("INVALID_ARGUMENT", True)


def test_elements_stand_in_the_field_of_their_datatype():
    made = request({"values": np.zeros((2, 1))}, raw=False)
    made.inputs[0].contents.fp32_contents.append(1.0)
    assert "stand in fp64_contents alone" in refused(sequence(), made)[1]
    made.inputs[0].ClearField("contents")
    made.inputs[0].datatype = "FP16"
    assert "FP16 has no typed contents" in refused(sequence(), made)[1]


def test_a_bool_is_true_unless_its_byte_is_zero():
    plane = tabular()
    made = request({"X_train": X, "y_train": np.array([True, False, True]), "X_test": X})
    made.raw_input_contents[1] = b"\x02\x00\xff"
    infer(plane, made)
    assert plane.requests[0].target.tolist() == [True, False, True]
