"""What a user of tritonclient does: ``python triton_session.py ADDRESS``, in its environment.

Prints one JSON object; imports nothing of Foretoken.
"""

import json
import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

TABLE = {
    "X_train": np.array([[1.0], [2.0], [8.0], [9.0]]),
    "y_train": np.array([b"a", b"a", b"b", b"b"], object),
    "X_test": np.array([[3.0], [7.0]]),
}
SEQUENCE = {"values": np.array([[1.0], [2.0]])}
GRAPH = {"sources": np.array([0, 1, 2]), "targets": np.array([1, 2, 3])}
NODES = np.array([3, 0])
KINDS = {np.dtype(float): "FP64", np.dtype(np.int64): "INT64", np.dtype(object): "BYTES"}
SAMPLES = {
    "values": np.array([0.1, 0.25, 0.4, 0.45], np.float64),
    "steps": np.array([1, 2, 3, 4], np.float64),
    "at": np.array([5, 10, 50], np.float64),
}


def main(address: str) -> dict:
    client = triton.InferenceServerClient(address)
    said = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "server": client.get_server_metadata(as_json=True),
        "models": {},
    }
    for entry in client.get_model_repository_index().models:
        name, version = entry.name, entry.version
        if name not in said["models"]:
            said["models"][name] = inspected(client, name, version)
    said["errors"] = errors(client)
    said["stream"] = streamed(client)
    said["unloaded"] = unloaded(client)
    return said


def inspected(client, name: str, version: str) -> dict:
    metadata = client.get_model_metadata(name, version)
    sample = sample_of(metadata)
    begun = {"sequence_id": 7, "sequence_start": True, "sequence_end": True}
    given = begun if sample is SEQUENCE else {}
    result = client.infer(name, inputs(sample), request_id="7", **given)
    if sample is GRAPH:  # is kept; what is told of its nodes is asked for next
        looked_up = {"context_id": result.as_numpy("context_id"), "nodes": NODES}
        result = client.infer(name, inputs(looked_up), request_id="7")
    statistics = client.get_inference_statistics(name).model_stats
    return {
        "ready": client.is_model_ready(name),
        "inputs": [tensor.name for tensor in metadata.inputs],
        "outputs": [tensor.name for tensor in metadata.outputs],
        "config": client.get_model_config(name).config.name,
        "id": result.get_response().id,
        "made": {
            tensor.name: list(result.as_numpy(tensor.name).shape)
            for tensor in result.get_response().outputs
        },
        "mean": result.as_numpy("mean").tolist() if sample is SAMPLES else None,
        "success": sum(s.inference_stats.success.count for s in statistics),
    }


def sample_of(metadata) -> dict:
    """Inputs of the model's task, which is told by their names."""
    names = {tensor.name for tensor in metadata.inputs}
    (found,) = (
        sample
        for sample in (SAMPLES, TABLE, SEQUENCE, GRAPH)
        if names >= set(sample) and (sample is not SEQUENCE or names == set(sample))
    )
    return found


def inputs(sample) -> list:
    made = []
    for name, array in sample.items():
        made.append(triton.InferInput(name, array.shape, KINDS[array.dtype]))
        made[-1].set_data_from_numpy(array)
    return made


def wrong(array, datatype: str, name: str = "values"):
    tensor = triton.InferInput(name, array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return [tensor]


def errors(client) -> dict:
    nan = np.array([0.1, np.nan])
    tried = {
        "no model": lambda: client.infer("nothing", wrong(SAMPLES["values"], "FP64")),
        "no version": lambda: client.get_model_metadata("lcpfn", "99"),
        "NaN": lambda: client.infer("lcpfn", wrong(nan, "FP64")),
        "dtype": lambda: client.infer("lcpfn", wrong(np.array([True]), "BOOL")),
        "tensor": lambda: client.infer("lcpfn", wrong(SAMPLES["values"], "FP64", "colour")),
        "sequence": lambda: client.infer(
            "lcpfn", wrong(SAMPLES["values"], "FP64"), sequence_id=3, sequence_start=True
        ),
        "shared memory": lambda: client.register_system_shared_memory("x", "/x", 64),
        "deadline": lambda: client.infer(
            "lcpfn", wrong(SAMPLES["values"], "FP64"), client_timeout=1e-6
        ),
    }
    return {name: status(call) for name, call in tried.items()}


def status(call) -> str:
    try:
        call()
    except InferenceServerException as e:
        return str(e.status())
    return "OK"


def streamed(client) -> list:
    """Two answers and an error on one stream."""
    import queue

    got = queue.Queue()
    client.start_stream(lambda result, error: got.put((result, error)))
    good = [triton.InferInput(name, array.shape, "FP64") for name, array in SAMPLES.items()]
    for tensor, array in zip(good, SAMPLES.values(), strict=True):
        tensor.set_data_from_numpy(array)
    client.async_stream_infer("lcpfn", good, request_id="a")
    client.async_stream_infer("lcpfn", wrong(np.array([np.nan]), "FP64"), request_id="b")
    client.async_stream_infer("lcpfn", good, request_id="c")
    outcomes = []
    for _ in range(3):
        result, error = got.get(timeout=30)
        outcomes.append("error" if error else result.get_response().id)
    client.stop_stream()
    return outcomes


def unloaded(client) -> list:
    client.unload_model("lcpfn")
    gone = client.is_model_ready("lcpfn")
    client.load_model("lcpfn")
    return [gone, client.is_model_ready("lcpfn")]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
