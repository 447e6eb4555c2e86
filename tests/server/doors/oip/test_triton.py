"""Triton's own client and perf_analyzer, in an environment of their own, against a server."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from benchmarks.load.peers import ABSENT, PERF_ANALYZER, TRITON, environment
from foretoken.proto.loading import descriptor_set
from tests.proto.compatible import breaks
from tests.server.doors.oip.door import serving

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not TRITON.exists(), reason=ABSENT),
]

WIRE = Path(__file__).parents[4] / "docs" / "wire.md"
# Our one addition; Triton's clients skip what they do not know.
OURS_ALONE = ".ModelMetadataResponse."

DESCRIPTORS = """
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2
files = FileDescriptorSet()
for module in (model_config_pb2, service_pb2):
    module.DESCRIPTOR.CopyToProto(files.file.add())
sys.stdout.buffer.write(files.SerializeToString())
"""

SESSION = """
import json, queue, sys
import numpy as np
import tritonclient.grpc as triton

client = triton.InferenceServerClient(sys.argv[1])
values = triton.InferInput("values", [5], "FP64")
values.set_data_from_numpy(np.array([0.31, 0.45, 0.53, 0.59, 0.63]))
at = triton.InferInput("at", [2], "INT64")
at.set_data_from_numpy(np.array([50, 100]))

def code(**fields):
    try:
        client.infer("curves", [values], **fields)
    except triton.InferenceServerException as e:
        return e.status()

def streamed():
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for i, inputs in enumerate(([values, at], [at], [values])):
        client.async_stream_infer("curves", inputs, request_id=str(i))
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    return [str(error) if error else result.get_response().id for result, error in found]

wanted = [triton.InferRequestedOutput("quantiles"), triton.InferRequestedOutput("mean")]
answer = client.infer("curves", [values, at], outputs=wanted, request_id="mine", priority=1,
                      timeout=60_000_000, parameters={"minimize": False, "bounds_high": 1.0})
client.unregister_system_shared_memory()
print(json.dumps({
    "ready": [client.is_server_live(), client.is_server_ready(), client.is_model_ready("curves"),
              client.is_model_ready("curve")],
    "index": [m["name"] for m in client.get_model_repository_index(as_json=True)["models"]],
    "inputs": [i["name"] for i in client.get_model_metadata("curves", as_json=True)["inputs"]],
    "optional": [i.optional for i in client.get_model_config("curves").config.input],
    "id": answer.get_response().id,
    "mean": answer.as_numpy("mean").tolist(),
    "quantiles": list(answer.as_numpy("quantiles").shape),
    "codes": [code(model_version="9"), code(sequence_id=3), code(parameters={"minimise": True})],
    "stream": streamed(),
    "requests": client.get_inference_statistics("curves", as_json=True)["model_stats"][0][
        "inference_count"],
}))
"""


async def output(*command):
    """What a program prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()
    return out


def test_definitions_agree_with_triton_s():
    theirs = FileDescriptorSet.FromString(asyncio.run(output(TRITON, "-c", DESCRIPTORS)))
    ours = descriptor_set("inference")
    differing = [each for each in breaks(ours, theirs) if OURS_ALONE not in each]
    assert differing == []
    service = FileDescriptorSet(file=theirs.file[1:])  # configurations hold more than is served
    assert breaks(service, ours) == []


def test_triton_s_client_lists_inspects_and_infers(registry):
    async def run():
        async with serving(registry) as stub:
            return await output(TRITON, "-c", SESSION, stub.address)

    told = json.loads(asyncio.run(run()))
    assert told["ready"] == [True, True, True, False]
    assert told["index"] == ["curves", "curves"]
    assert told["inputs"] == ["values", "steps", "at", "quantiles"]
    assert told["optional"] == [False, True, True, True]
    assert (told["id"], len(told["mean"]), told["quantiles"]) == ("mine", 2, [3, 2])
    assert told["codes"] == [
        "StatusCode.NOT_FOUND",
        "StatusCode.UNIMPLEMENTED",
        "StatusCode.INVALID_ARGUMENT",
    ]
    assert (told["stream"][0], told["stream"][2]) == ("0", "2")
    assert "missing: values" in told["stream"][1]
    assert told["requests"] == "3"


@pytest.mark.parametrize("streaming", [False, True], ids=["unary", "stream"])
def test_perf_analyzer_runs_on_the_data_that_is_documented(registry, tmp_path, streaming):
    (data,) = re.findall(r"```json\n(.*?)```", WIRE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "curves.json").write_text(json.dumps(json.loads(data)))

    async def run():
        async with serving(registry, log="errors") as stub:
            options = ["-p", "500", "-r", "3", "-s", "999", *(["--streaming"] if streaming else [])]
            given = ["--input-data", tmp_path / "curves.json"]
            where = ["-m", "curves", "-u", stub.address, "-i", "grpc"]
            return await output(PERF_ANALYZER, *where, *given, *options)

    (throughput,) = re.findall(r"throughput: ([\d.]+) infer/sec", asyncio.run(run()).decode())
    assert float(throughput) > 0
