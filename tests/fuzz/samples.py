"""Valid requests of every method of every service, as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from google.protobuf.descriptor import FieldDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pyarrow import ipc

import foretoken.proto
from foretoken.client.embeddings import Manner, TextFlow
from foretoken.client.tables import table_message
from foretoken.client.tabular import training_message
from foretoken.models.artefact import Artefact
from foretoken.proto import curves, embeddings, generation, loading, tabular
from foretoken.proto.grpc_service import ModelInferRequest
from tests.wire import upload_of

PREDICTED, CHANGED = "lcpfn", "scratch"  # models that requests name, by whether they may change it
GENERATES = "cola-arith"
ENDLESS = frozenset({"/grpc.health.v1.Health/Watch"})
_INTEGERS = frozenset(
    {
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
        FieldDescriptor.CPPTYPE_ENUM,
    }
)
_REALS = frozenset({FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT})
_NAMES = frozenset({"name", "model", "model_name", "ref", "service"})


@dataclass(frozen=True)
class Sample:
    """A valid call: its method, whether the caller sends a stream, and what it sends."""

    method: str
    upload: bool
    stream: bool
    messages: tuple[bytes, ...]

    @property
    def endless(self) -> bool:
        """Whether the server never ends it."""
        return self.method in ENDLESS


def samples(artefact: Artefact) -> list[Sample]:
    """Every method once with all fields set and once with none, and what is served often."""
    made = [
        Sample(path, client, stream, (filled(kind, model).SerializeToString(),))
        for path, client, stream, kind, model in _methods()
    ]
    made += [Sample(path, client, stream, (b"",)) for path, client, stream, _, _ in _methods()]
    return [*made, *_inference(), *_curves(), *_tables(), *_texts(), *_prompts(), _upload(artefact)]


def _methods() -> Iterator[tuple[str, bool, bool, type[Message], str]]:
    for service in _services():
        changes = service.full_name.endswith("Registry")
        for method in service.methods:
            yield (
                f"/{service.full_name}/{method.name}",
                bool(method.client_streaming and not method.server_streaming),
                bool(method.server_streaming),
                GetMessageClass(method.input_type),
                CHANGED if changes or "Repository" in method.name else PREDICTED,
            )


def _services() -> Iterator[ServiceDescriptor]:
    for compiled in sorted(Path(next(iter(foretoken.proto.__path__))).glob("*.binpb")):
        for file in loading.descriptor_set(compiled.stem).file:
            for service in file.service:
                yield loading.service(file.name, service.name)


def filled(kind: type[Message], model: str, depth: int = 3) -> Message:
    """A message with every field set to something plausible."""
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            if depth and not field.message_type.GetOptions().map_entry:
                part = filled(GetMessageClass(field.message_type), model, depth - 1)
                _set(message, field, part)
        else:
            _set(message, field, _value(field, model))
    return message


def _set(message: Message, field: FieldDescriptor, value: object) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _value(field: FieldDescriptor, model: str) -> object:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return 1
    if kind in _REALS:
        return 0.5
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b"\x00\x00\x80\x3f"
    return model if field.name in _NAMES else "1"


def _inference() -> Iterator[Sample]:
    whole = ModelInferRequest(model_name=PREDICTED, id="fuzz")
    for name, values in {"values": [0.1, 0.2, 0.4], "steps": [1, 2, 3], "at": [4, 9]}.items():
        whole.inputs.add(name=name, datatype="FP64", shape=[len(values)])
        whole.raw_input_contents.append(np.array(values, np.float64).tobytes())
    whole.parameters["minimize"].bool_param = False
    typed = ModelInferRequest(model_name=PREDICTED)
    tensor = typed.inputs.add(name="values", datatype="FP32", shape=[1, 3])
    tensor.contents.fp32_contents.extend([0.1, 0.2, 0.4])
    service = "/inference.GRPCInferenceService"
    for message in (whole, typed):
        sent = message.SerializeToString()
        yield Sample(f"{service}/ModelInfer", False, False, (sent,))
        yield Sample(f"{service}/ModelStreamInfer", False, True, (sent, sent))


def _curves() -> Iterator[Sample]:
    curve = curves.Curve(values=[0.1, 0.2, 0.4], steps=[1, 2, 3], at=[4, 9])
    curve.metric.bounds.low, curve.metric.bounds.high = 0.0, 1.0
    for detail in (curves.SUMMARY, curves.DISTRIBUTION):
        request = curves.ExtrapolateRequest(model=PREDICTED, curves=[curve, curve], detail=detail)
        sent = request.SerializeToString()
        yield Sample("/foretoken.v1.Curves/Extrapolate", False, False, (sent,))
    opened = curves.WatchRequest(open=curves.WatchOpen(model=PREDICTED, at=[10, 20], best=0.5))
    seen = curves.WatchRequest(observe=curves.Observation(step=1, value=0.3))
    sent = (opened.SerializeToString(), seen.SerializeToString())
    yield Sample("/foretoken.v1.Curves/Watch", False, True, sent)


def _tables() -> Iterator[Sample]:
    """Every form of a table; whether or not a model answers, tables are read."""
    columns = {
        "a": [0.5, None, 2.0],
        "b": [1, 2, 3],
        "c": ["x", None, "y"],
        "d": [True, False, True],
    }
    stream = BytesIO()
    batch = pa.record_batch({**columns, "e": pa.array(["x", "y", "x"]).dictionary_encode()})
    with ipc.new_stream(stream, batch.schema) as writer:
        writer.write_batch(batch)
    csv = b"a,b,c\n0.5,1,x\n,2,\n2,3,y\n"
    service = "/foretoken.v1.Tabular"
    for given in (columns, stream.getvalue(), csv):
        training = training_message(given, "b", ["a"], {"members": 2})
        fit = tabular.FitRequest(model=PREDICTED, training=training)
        yield Sample(f"{service}/Fit", False, False, (fit.SerializeToString(),))
        test = table_message(given)
        asked = tabular.PredictRequest(model=PREDICTED, training=training, test=test)
        yield Sample(f"{service}/Predict", False, False, (asked.SerializeToString(),))
        opened = tabular.PredictStreamRequest(open=tabular.PredictOpen(context_id="ctx-1"))
        chunk = tabular.PredictStreamRequest(test=test).SerializeToString()
        sent = (opened.SerializeToString(), chunk, chunk)
        yield Sample(f"{service}/PredictStream", False, True, sent)


def _texts() -> Iterator[Sample]:
    """Whether or not a model answers, texts are read."""
    service = "/foretoken.v1.Embeddings"
    texts = ["one", "zw\u00f6lf", ""]
    manner = Manner(8, "query: ", "error").message()
    asked = embeddings.EmbedRequest(
        model=PREDICTED, texts=[text.encode() for text in texts], options=manner
    )
    yield Sample(f"{service}/Embed", False, False, (asked.SerializeToString(),))
    flow = TextFlow(PREDICTED, Manner(), None)
    chunk = flow.chunk(texts).SerializeToString()
    sent = (flow.opening().SerializeToString(), chunk, chunk)
    yield Sample(f"{service}/EmbedStream", False, True, sent)


def _prompts() -> Iterator[Sample]:
    """What a model that generates answers."""
    service = "/foretoken.v1.Generation"
    text = generation.Prompt(text=b"17+58=")
    ids = generation.Prompt(tokens=generation.Tokens(ids=[1, 4, 10, 11]))
    chain = generation.Chain(layers=[0, 1, 1, 2, 7])
    drawn = generation.Sampling(temperature=0.8, top_k=9, top_p=0.9, min_p=0.01, seed=5)
    for prompt in (text, ids):
        asked = generation.GenerateRequest(
            model=GENERATES, prompt=prompt, max_tokens=4, sampling=drawn, logprobs=3, stop=["9"]
        )
        yield Sample(f"{service}/Generate", False, True, (asked.SerializeToString(),))
        asked = generation.GenerateRequest(
            model=GENERATES, prompt=prompt, max_tokens=3, chain=chain, ends=[2]
        )
        yield Sample(f"{service}/Generate", False, True, (asked.SerializeToString(),))
        scored = generation.ScoreRequest(model=GENERATES, prompt=prompt, chain=chain)
        yield Sample(f"{service}/Score", False, False, (scored.SerializeToString(),))


def _upload(artefact: Artefact) -> Sample:
    messages = tuple(m.SerializeToString() for m in upload_of(CHANGED, artefact, chunk=1 << 16))
    return Sample("/foretoken.v1.Registry/Register", True, False, messages)
