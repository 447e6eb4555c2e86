"""Whatever is wrong with a request is said in the status that the house promises."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from foretoken.models.artefact import Artefact
from foretoken.models.catalog import bundled
from foretoken.proto import curves
from foretoken.proto import grpc_service as oip
from tests.load.calling import call, infer, observed, opened, outcome, tensors, watching
from tests.wire import RegistryWire, opening

GOOD = {"values": [0.1, 0.2, 0.4], "steps": [1.0, 2.0, 3.0], "at": [4.0, 9.0]}


def changed(**tensors) -> oip.ModelInferRequest:
    return infer(**{**GOOD, **{name: np.asarray(array) for name, array in tensors.items()}})


def edited(**fields) -> oip.ModelInferRequest:
    """A good request of which the first tensor says something else."""
    request = infer(**GOOD)
    for name, value in fields.items():
        if name == "shape":
            request.inputs[0].shape[:] = value
        else:
            setattr(request.inputs[0], name, value)
    return request


def with_parameter(name: str, **value) -> oip.ModelInferRequest:
    request = infer(**GOOD)
    for field, given in value.items():
        setattr(request.parameters[name], field, given)
    return request


def raw(cut: int) -> oip.ModelInferRequest:
    request = infer(**GOOD)
    request.raw_input_contents[0] = request.raw_input_contents[0][:cut]
    return request


def both() -> oip.ModelInferRequest:
    request = infer(**GOOD)
    request.inputs[0].contents.fp64_contents.append(0.5)
    return request


INVALID = {
    "no values": (changed(values=np.zeros(0)), "steps"),
    "no steps asked for": (changed(at=np.zeros(0)), "at"),
    "NaN": (changed(values=[0.1, np.nan, 0.4]), "finite"),
    "infinity": (changed(values=[0.1, np.inf, 0.4]), "finite"),
    "a value out of bounds": (changed(values=[0.1, 0.2, 1.4]), "bounds"),
    "steps out of order": (changed(steps=[1.0, 3.0, 2.0]), "increasing"),
    "a step twice": (changed(steps=[1.0, 2.0, 2.0]), "duplicate"),
    "a negative step": (changed(steps=[-1.0, 2.0, 3.0]), "negative"),
    "more steps than values": (changed(steps=[1.0, 2.0, 3.0, 4.0]), "same length"),
    "a quantile of one": (changed(quantiles=[0.5, 1.0]), "quantiles"),
    "a quantile that is NaN": (changed(quantiles=[np.nan]), "quantiles"),
    "another dtype": (changed(values=np.array([True, False, True])), "BOOL"),
    "an unknown dtype": (edited(datatype="FP128"), "FP128"),
    "three axes": (changed(values=np.zeros((1, 1, 3))), "values"),
    "no curve": (changed(values=np.zeros((0, 3))), "values"),
    "fewer bytes than the shape": (raw(20), "bytes"),
    "no bytes": (raw(0), "bytes"),
    "a shape of more than there is": (edited(shape=[5]), "bytes"),
    "a shape of more than can be": (edited(shape=[1 << 62]), "values"),
    "a shape that overflows": (edited(shape=[1 << 32, 1 << 32]), "values"),
    "a negative dimension": (edited(shape=[-3]), "-3"),
    "contents and raw": (both(), "contents"),
    "no such tensor": (changed(colour=[0.5]), "colour"),
    "no such parameter": (with_parameter("colour", int64_param=1), "colour"),
    "a parameter of another type": (with_parameter("minimize", string_param="yes"), "minimize"),
    "bounds that cross": (with_parameter("bounds_low", double_param=2.0), "bounds"),
    "no model": (infer("", **GOOD), "model"),
    "too much work": (changed(values=np.zeros((5000, 50)), steps=np.arange(50.0)), "send fewer"),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_arguments(channel, name):
    request, said = INVALID[name]
    code, text = outcome(channel, "ModelInfer", request)
    assert code == "INVALID_ARGUMENT"
    assert said in text


@pytest.mark.parametrize("model", ["nothing", "lcpfn:99", "champion@nothing", "wrong@lcpfn"])
def test_what_does_not_exist_is_not_found(channel, model):
    code, text = outcome(channel, "ModelInfer", infer(model, **GOOD))
    assert code == "NOT_FOUND"
    assert model.rpartition("@")[2].partition(":")[0] in text


@pytest.mark.parametrize("model", ["../lcpfn", "lcpfn:0", "lcpfn:x", "a@b@c", "lcp fn"])
def test_what_is_no_reference_is_invalid(channel, model):
    code, text = outcome(channel, "ModelInfer", infer(model, **GOOD))
    assert code == "INVALID_ARGUMENT"
    assert "NAME" in text or "name" in text


@pytest.mark.parametrize("name", ["..", "a/b", "/etc/passwd", "", "x" * 300, "a\x00b", ".hidden"])
def test_names_that_could_leave_the_data_dir_are_refused(channel, name):
    artefact = Artefact.read(bundled()["lcpfn"])
    registry = RegistryWire(channel)
    with pytest.raises(grpc.RpcError) as raised:
        registry.upload(iter([opening(name, artefact)]))
    assert raised.value.code().name == "INVALID_ARGUMENT"
    with_file = opening("fine", artefact)
    with_file.open.files[0].name = name
    with pytest.raises(grpc.RpcError) as raised:
        registry.upload(iter([with_file]))
    assert raised.value.code().name == "INVALID_ARGUMENT"


def test_a_stale_generation_is_a_failed_precondition(channel):
    registry = RegistryWire(channel)
    mine = {"name": "lcpfn", "alias": "mine", "version": 1}
    alias = registry("SetAlias", **mine)
    stale = alias.generation + 1
    assert registry.code("SetAlias", **mine, expect_generation=stale) == "FAILED_PRECONDITION"


def test_bytes_that_are_not_those_announced_are_lost(channel):
    from foretoken.proto import registry as wire

    artefact = Artefact.read(bundled()["lcpfn"])
    size = sum(path.stat().st_size for path in artefact.files.values())
    messages = [opening("fine", artefact), wire.RegisterRequest(chunk=bytes(size))]
    with pytest.raises(grpc.RpcError) as raised:
        RegistryWire(channel).upload(iter(messages))
    assert raised.value.code().name == "DATA_LOSS"


def test_what_is_not_supported_is_unimplemented(channel):
    sequence = with_parameter("sequence_id", int64_param=7)
    code, text = outcome(channel, "ModelInfer", sequence)
    assert code == "UNIMPLEMENTED"
    assert "sequence" in text
    shared = oip.SystemSharedMemoryRegisterRequest(name="x", key="/x", byte_size=8)
    assert outcome(channel, "SystemSharedMemoryRegister", shared)[0] == "UNIMPLEMENTED"
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"")
    assert raised.value.code().name == "UNIMPLEMENTED"


def test_a_deadline_that_has_passed_or_cannot_be_met_is_told_as_such(channel):
    code, text = outcome(channel, "ModelInfer", infer(**GOOD), timeout=1e-6)
    assert code == "DEADLINE_EXCEEDED" or (code == "RESOURCE_EXHAUSTED" and "deadline" in text)


def test_bytes_that_are_no_message_are_invalid(channel):
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/foretoken.v1.Curves/Extrapolate")(b"\x0a\xff\xff\xff\xff\x0f")
    assert raised.value.code().name == "INVALID_ARGUMENT"
    assert "malformed" in raised.value.details()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([observed(1, 0.2)], "INVALID_ARGUMENT"),  # before it is open
        ([opened(), opened()], "INVALID_ARGUMENT"),
        ([opened("nothing")], "NOT_FOUND"),
        ([opened(), observed(2, 0.2), observed(1, 0.3)], "INVALID_ARGUMENT"),
        ([opened(), observed(1, float("nan"))], "INVALID_ARGUMENT"),
        ([curves.WatchRequest()], "INVALID_ARGUMENT"),
    ],
)
def test_watch_refuses_what_makes_no_sense(channel, messages, code):
    with pytest.raises(grpc.RpcError) as raised:
        list(watching(channel, iter(messages)))
    assert raised.value.code().name == code


def test_a_good_request_is_answered_after_all_of_them(channel):
    made = tensors(call(channel, "ModelInfer", infer(**GOOD)))
    assert made["mean"].shape == (2,)
    assert made["quantiles"].shape == (3, 2)
    assert np.isfinite(made["mean"]).all()


def test_a_stream_that_turns_malformed_ends_with_a_status_every_time(channel):
    """Also while the answer to what came before is on its way."""
    method = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    messages = [infer("nothing", **GOOD).SerializeToString(), b"\x0a\xff\xff\xff"]
    for _ in range(200):
        with pytest.raises(grpc.RpcError) as raised:
            list(method(iter(messages), timeout=10))
        assert raised.value.code().name == "INVALID_ARGUMENT"
