"""Sequences of the Open Inference Protocol by raw calls, and what they must answer."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np

from foretoken.models.tasks import SequenceRequest
from foretoken.proto import grpc_service as oip
from foretoken.server.registry.registry import Registry
from foretoken.server.runtimes import runtime
from tests.load.calling import SERVICE, infer
from tests.serving import Server, serving
from tests.toy_families import toy_families
from tests.toys import TOYS

__all__ = ["MODEL", "Caller", "ask", "observed", "reference", "sequence_server"]

MODEL = "toy"
FIELDS = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
ATOL = 1e-5
ALONE = (("grpc.use_local_subchannel_pool", 1),)  # a connection of its own, to any of the workers


@contextmanager
def sequence_server(folder: Path, artefact, *arguments, workers=2, **options):
    """A server of the recurrent toy."""
    data = folder / "data"
    with toy_families(folder) as env:
        with Registry.open(data) as registry:
            registry.register(MODEL, artefact)
        with serving(*arguments, workers=workers, data_dir=data, env=env, **options) as server:
            yield server


def reference(artefact):
    """``reference(values)``: outputs over a whole sequence [T, D], by one process and no server."""
    family = TOYS[artefact.family]
    executable = runtime("onnx").load(artefact, family, 1)
    predictor = family.predictor(artefact.config, {})
    writes = next(g for g in family.graphs(artefact.config) if g.name == "step").writes

    def outputs(values):
        state, made = dict(predictor.start()), []
        for row in values:
            (call,) = next(predictor.predict(SequenceRequest(row[None]), state))
            done = executable.run("step", {**call.inputs, **state})
            state = {tensor.name: done[tensor.name] for tensor in writes}
            made.append(done["y"])
        return np.concatenate(made)

    return outputs


def ask(values, sequence, model=MODEL, **parameters) -> oip.ModelInferRequest:
    """A request of a sequence; ``start`` and ``end`` stand for their parameters."""
    request = infer(model, values=np.asarray(values, float).reshape(-1, 2))
    given = {"sequence_id": sequence}
    for name, value in parameters.items():
        given[f"sequence_{name}" if name in ("start", "end", "step") else name] = value
    for name, value in given.items():
        setattr(request.parameters[name], FIELDS[type(value)], value)
    return request


def observed(response: oip.ModelInferResponse) -> np.ndarray:
    """The output, [T, ...]."""
    (output,) = response.outputs
    return np.frombuffer(response.raw_output_contents[0], np.float32).reshape(output.shape)


class Caller:
    """A client with a connection of its own."""

    def __init__(self, server: Server) -> None:
        self.channel = grpc.insecure_channel(server.address, ALONE)
        self._method = self.channel.unary_unary(
            f"{SERVICE}/ModelInfer",
            oip.ModelInferRequest.SerializeToString,
            oip.ModelInferResponse.FromString,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def ask(self, values, sequence, timeout=30, **given):
        """The answer [T, ...]."""
        return observed(self._method(ask(values, sequence, **given), timeout=timeout))

    def refused(self, values, sequence, timeout=30, **given) -> tuple[str, str]:
        """Status and details; ("OK", "") if it is answered."""
        try:
            self.ask(values, sequence, timeout, **given)
        except grpc.RpcError as e:
            return e.code().name, e.details()
        return "OK", ""

    def future(self, values, sequence, timeout=30, **given):
        return self._method.future(ask(values, sequence, **given), timeout=timeout)
