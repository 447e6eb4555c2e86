"""ModelInfer over a channel: what is answered, and how what is not acceptable is refused."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from foretoken.models.tasks import CurveRequest
from foretoken.server.local import LocalPlane
from foretoken.server.settings import load_settings
from tests.server.doors.oip.door import arrays, request, serving

VALUES = 0.9 - 0.5 * np.arange(1.0, 9) ** -0.5
AT = np.array([20.0, 50.0, 100.0])
LEVELS = np.array([0.1, 0.9])


def infer(registry, *requests, **options):
    async def run():
        async with serving(registry, **options) as stub:
            return [await stub.ModelInfer(each) for each in requests]

    return asyncio.run(run())


def refused(registry, made, **options):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        infer(registry, made, **options)
    return caught.value.code().name, caught.value.details()


def own(registry, values=VALUES, at=AT, levels=LEVELS, **metric):
    steps = np.arange(1.0, len(values) + 1)
    with LocalPlane(registry, load_settings()) as plane:
        return plane.predict("curves", [CurveRequest(values, steps, at, levels, **metric)])[0]


def test_the_answer_is_the_plane_s_own(registry):
    made = request({"values": VALUES, "at": AT, "quantiles": LEVELS}, id="mine")
    (response,) = infer(registry, made)
    assert (response.model_name, response.model_version, response.id) == ("curves", "1", "mine")
    found, expected = arrays(response), own(registry)
    np.testing.assert_array_equal(found["mean"], expected.mean)
    np.testing.assert_array_equal(found["quantiles"], expected.quantiles)
    np.testing.assert_array_equal(found["steps"], AT)


def test_raw_and_typed_contents_are_answered_alike(registry):
    tensors = {"steps": np.arange(1, 9), "values": VALUES.astype(np.float32), "at": AT}
    raw, typed = infer(registry, request(tensors), request(tensors, raw=False))
    assert raw.raw_output_contents == typed.raw_output_contents
    assert raw.outputs == typed.outputs


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_travels_raw(registry, datatype):
    values = np.array([0.25, 0.5, 0.625, 0.75])  # exact in both
    made = request({"values": values, "at": AT})
    made.inputs[0].datatype = datatype
    if datatype == "FP16":
        made.raw_input_contents[0] = values.astype("<f2").tobytes()
    else:
        made.raw_input_contents[0] = (
            (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
        )
    full, half = infer(registry, request({"values": values, "at": AT}), made)
    assert full.raw_output_contents == half.raw_output_contents


def test_only_values_are_needed(registry):
    (response,) = infer(registry, request({"values": VALUES}))
    found = arrays(response)
    assert found["steps"].tolist() == list(range(9, 101))
    assert found["mean"].shape == (92,)
    assert found["quantiles"].shape == (3, 92)


def test_curves_are_continued_at_their_own_pace(registry):
    steps = np.stack([np.arange(0.0, 80, 10), np.arange(5.0, 13)])
    made = request({"values": np.stack([VALUES, VALUES]), "steps": steps}, outputs=["steps"])
    (response,) = infer(registry, made)
    expected = [np.arange(80.0, 1000, 10), np.arange(13.0, 105)]
    np.testing.assert_array_equal(arrays(response)["steps"], expected)


def test_curves_of_a_call_are_answered_as_each_alone(registry):
    values = np.stack([VALUES, VALUES / 2, VALUES[::-1]])
    together = request({"values": values, "at": AT})
    response, *alone = infer(
        registry, together, *(request({"values": v, "at": AT}) for v in values)
    )
    found = arrays(response)
    assert found["mean"].shape == (3, 3)
    assert found["quantiles"].shape == (3, 3, 3)
    for i, each in enumerate(alone):
        for name, array in arrays(each).items():
            np.testing.assert_allclose(found[name][i], array, atol=1e-5)


def test_each_curve_may_have_steps_of_its_own(registry):
    values, steps = np.stack([VALUES, VALUES]), np.stack([np.arange(1.0, 9), np.arange(11.0, 19)])
    at = np.stack([AT, AT + 1])
    (response,) = infer(registry, request({"values": values, "steps": steps, "at": at}))
    np.testing.assert_array_equal(arrays(response)["steps"], at)


def test_the_metric_is_told_by_parameters(registry):
    metric = {"minimize": True, "bounds_low": 0, "bounds_high": float("inf")}
    made = request(
        {"values": 9 - VALUES, "at": AT}, parameters=metric | {"soft_low": 7.5, "soft_high": 8.9}
    )
    (response,) = infer(registry, made)
    expected = own(
        registry,
        9 - VALUES,
        minimize=True,
        bounds=(0.0, float("inf")),
        soft_bounds=(7.5, 8.9),
    )
    np.testing.assert_array_equal(arrays(response)["mean"], expected.mean)


def test_outputs_come_as_they_are_asked_for(registry):
    (response,) = infer(registry, request({"values": VALUES}, outputs=["steps", "mean"]))
    assert [tensor.name for tensor in response.outputs] == ["steps", "mean"]


def test_a_version_is_a_number_an_alias_or_the_champion(changing):
    changing.set_alias("curves", "staging", 2)
    made = [
        request({"values": VALUES}, model_version=v) for v in ("", "1", "2", "staging", "champion")
    ]
    assert [r.model_version for r in infer(changing, *made)] == ["1", "1", "2", "2", "1"]


def test_the_id_decides_the_side_of_a_canary(changing):
    changing.set_alias("curves", "champion", 2, canary=50)
    ids = [f"run {i}" for i in range(40)]
    made = [request({"values": VALUES}, id=i, outputs=["steps"]) for i in ids for _ in range(2)]
    sides = [r.model_version for r in infer(changing, *made)]
    assert sides[::2] == sides[1::2]
    assert set(sides) == {"1", "2"}


def edited(edit, **tensors):
    made = request(tensors or {"values": VALUES, "at": AT})
    edit(made)
    return made


def _drop_raw(made):
    del made.raw_input_contents[1]


def _both(made):
    made.inputs[0].contents.fp64_contents.extend(VALUES)


def _nothing(made):
    del made.raw_input_contents[:]


def _truncate(made):
    made.raw_input_contents[0] = made.raw_input_contents[0][:-1]


def _negative(made):
    made.inputs[0].shape[:] = [-8]


def _overflow(made):
    made.inputs[0].shape[:] = [1 << 40, 1 << 40]


def _hidden(made):
    made.inputs[0].shape[:] = [0, 1 << 62]  # no elements, and yet more than NumPy can say
    made.raw_input_contents[0] = b""


def _wrapping(made):
    made.inputs[0].shape[:] = [1 << 32, 1 << 32]  # 0 modulo 2**64


def _rank(made):
    made.inputs[0].shape[:] = [2, 2, 2]


def _many_axes(made):
    made.inputs[0].shape[:] = [1] * 10_000


def _datatype(made):
    made.inputs[0].datatype = "BYTES"


def _no_datatype(made):
    made.inputs[0].datatype = "FLOAT"


def _unknown(made):
    made.inputs[0].name = "vlaues"


def _twice(made):
    made.inputs[1].name = "values"


def _missing(made):
    del made.inputs[0]
    del made.raw_input_contents[0]


def _output(made):
    made.outputs.add(name="median")


def _output_twice(made):
    made.outputs.add(name="mean")
    made.outputs.add(name="mean")


def _output_parameter(made):
    made.outputs.add(name="mean").parameters["precision"].int64_param = 3


def _tensor_parameter(made):
    made.inputs[0].parameters["scale"].double_param = 2.0


def _parameter(made):
    made.parameters["minimise"].bool_param = True


def _no_value(made):
    made.parameters["minimize"].SetInParent()


def _reserved(made):
    made.parameters["triton_secret"].bool_param = True


def _minimize(made):
    made.parameters["minimize"].string_param = "yes"


def _half_soft(made):
    made.parameters["soft_low"].double_param = 0.1


def _timeout(made):
    made.parameters["timeout"].int64_param = -1


def _start(made):
    made.parameters["sequence_start"].bool_param = True


def _no_model(made):
    made.model_name = ""


def _both_versions(made):
    made.model_name, made.model_version = "curves:1", "2"


def _path(made):
    made.model_name = "../curves"


INVALID = {
    _drop_raw: "1 entries for 2 inputs",
    _both: "'values' has `contents` beside",
    _nothing: "0 elements in fp64_contents; its shape [8] has 8",
    _truncate: "63 bytes; 8 elements of FP64 are 64",
    _negative: "[-8]; no axis is negative",
    _overflow: "1208925819614629174706176 elements",
    _hidden: "0 elements; this server",
    _wrapping: "18446744073709551616 elements",
    _rank: "must have 1 or 2 axes",
    _many_axes: "of 10000 axes",
    _datatype: "'BYTES'; accepted are FP64, FP32",
    _no_datatype: "'FLOAT'; accepted are FP64, FP32",
    _unknown: "no input tensor 'vlaues'; this model takes values, steps, at, quantiles",
    _twice: "'values' is given twice",
    _missing: "missing: values",
    _output: "no output 'median'; there are mean, quantiles, steps",
    _output_twice: "asked for twice",
    _output_parameter: "outputs take none",
    _tensor_parameter: "tensors take none",
    _parameter: "no such parameters: minimise",
    _no_value: "'minimize' has no value",
    _reserved: "'triton_secret' is reserved",
    _minimize: "must be a bool, not 'yes'",
    _half_soft: "give both or neither",
    _timeout: "at least 0, not -1",
    _start: "belong to a sequence_id",
    _no_model: "names no model",
    _both_versions: "says which version already",
    _path: "is not a name",
}


@pytest.mark.parametrize("edit", INVALID, ids=lambda edit: edit.__name__.strip("_"))
def test_what_is_not_acceptable_is_named(registry, edit):
    code, details = refused(registry, edited(edit))
    assert code == "INVALID_ARGUMENT"
    assert INVALID[edit] in details


def _sequence(made):
    made.parameters["sequence_id"].int64_param = 7
    made.parameters["sequence_start"].bool_param = True


def _named_sequence(made):
    made.parameters["sequence_id"].string_param = "seven"


def _shared_memory(made):
    made.inputs[0].parameters["shared_memory_region"].string_param = "input"


def _classification(made):
    made.outputs.add(name="mean").parameters["classification"].int64_param = 3


UNIMPLEMENTED = {
    _sequence: "curves:1 keeps no state along a sequence",
    _named_sequence: "curves:1 keeps no state along a sequence",
    _shared_memory: "this server does not read",
    _classification: "this server neither classifies nor",
}


@pytest.mark.parametrize("edit", UNIMPLEMENTED, ids=lambda edit: edit.__name__.strip("_"))
def test_what_is_not_supported_is_unimplemented(registry, edit):
    code, details = refused(registry, edited(edit))
    assert code == "UNIMPLEMENTED"
    assert UNIMPLEMENTED[edit] in details


@pytest.mark.parametrize("sequence", [0, ""])
def test_no_sequence_is_none(registry, sequence):
    none = {"sequence_id": sequence, "sequence_start": False, "sequence_end": False}
    (response,) = infer(registry, request({"values": VALUES}, parameters=none))
    assert response.outputs[0].name == "mean"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "curve"}, "no model 'curve'"),
        ({"model_version": "3"}, "no version 3"),
        ({"model_version": "best"}, "no alias 'best'"),
    ],
)
def test_what_is_not_there_is_not_found(registry, fields, told):
    code, details = refused(registry, request({"values": VALUES}, **fields))
    assert code == "NOT_FOUND"
    assert told in details


def test_what_the_task_refuses_is_refused(registry):
    for values, told in ((np.array([0.5, np.nan]), "entry 1 is nan"), (np.array([7.0]), "outside")):
        code, details = refused(registry, request({"values": values, "at": AT}))
        assert code == "INVALID_ARGUMENT"
        assert told in details
    assert refused(registry, request({"values": np.zeros(0)}))[0] == "INVALID_ARGUMENT"
    assert "no curve" in refused(registry, request({"values": np.zeros((0, 5))}))[1]
    assert (
        "'at' has 2 rows for 1 curves"
        in (refused(registry, request({"values": VALUES, "at": np.stack([AT, AT])}))[1])
    )


def test_more_than_the_settings_allow_is_refused(registry):
    many = request({"values": np.zeros((10, 5)), "at": AT})
    code, details = refused(registry, many, request_tokens=79)
    assert (code, "80 steps; a call may have 79" in details) == ("INVALID_ARGUMENT", True)
    assert len(infer(registry, many, request_tokens=80)) == 1
    levels = np.linspace(0.001, 0.999, 500)
    code, details = refused(
        registry, request({"values": VALUES, "quantiles": levels}), message_bytes=100_000
    )
    assert (code, "do not fit a reply" in details) == ("INVALID_ARGUMENT", True)


def test_a_small_message_cannot_ask_for_much_memory(registry):
    """Each of a million curves of one point would share ten thousand steps."""
    made = request({"values": np.zeros((1 << 16, 1), np.float32), "at": np.arange(1.0, 5000)})
    code, details = refused(registry, made)
    assert (code, "send fewer curves" in details) == ("INVALID_ARGUMENT", True)


def test_calls_side_by_side_do_not_mix(registry):
    ids = [str(i) for i in range(32)]
    made = [request({"values": VALUES[: 1 + int(i) % 8]}, id=i, outputs=["steps"]) for i in ids]

    async def run():
        async with serving(registry) as stub:
            return await asyncio.gather(*(stub.ModelInfer(each) for each in made))

    responses = asyncio.run(run())
    assert [r.id for r in responses] == ids
    assert [arrays(r)["steps"][0] for r in responses] == [2 + int(i) % 8 for i in ids]
